"""Published torch checkpoints as (ModelConfig, parameters), without torch."""

import math
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from jles.errors import InputError
from jles.interop.cace_import import import_cace
from jles.interop.mace_import import MACE_MODELS, import_mace
from jles.interop.module_tree import Module
from jles.interop.torch_zip import read_torch_zip
from jles.models.config import ModelConfig


def import_torch(
    path, element_energies: dict[str, float] | None = None
) -> tuple[ModelConfig, dict]:
    """A published CACE-LES, MACE or MACE-LES checkpoint as a jles model, without torch.

    Nothing in the file is executed (jles.interop.torch_zip). Anything unsupported is an error,
    never ignored.

    Args:
        path: the .pth or .model file: a whole pickled module, as published.
        element_energies: eV by chemical symbol. CACE-LES checkpoints contain none: they are 0
            for elements that are not given. Those of MACE checkpoints are read, and replaced by
            the ones that are given.

    Returns:
        The configuration and the parameters: a nested dict with the keys "backbone", "energy"
        and, with latent charges, "charges". Those of CACE are float32 as stored, those of MACE
        float64.

    Raises:
        InputError: not such a checkpoint, an unsupported attribute (named), or an element
            energy for an element that the model does not have.
    """
    path = Path(path)
    model = Module(read_torch_zip(path), path)
    convert = import_mace if model.kind in MACE_MODELS else import_cace
    config, params = convert(model)
    given = _check_element_energies(element_energies or {}, config.elements, path)
    return config.replace(element_energies=dict(config.element_energies) | given), params


def _check_element_energies(energies: dict, elements: tuple[str, ...], path: Path) -> dict:
    for symbol, value in energies.items():
        if symbol not in atomic_numbers or symbol not in elements:
            known = ", ".join(elements)
            problem = f"the model has only {known}"
            raise InputError(f"{path}: element energy of '{symbol}': {problem}")
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            problem = f"{value!r} is no finite number (eV)"
            raise InputError(f"{path}: element energy of '{symbol}': {problem}")
    return {symbol: float(value) for symbol, value in energies.items()}
