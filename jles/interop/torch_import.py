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
    path,
    element_energies: dict[str, float] | None = None,
    long_range_weight: float | None = None,
) -> tuple[ModelConfig, dict]:
    """A published CACE-LES, MACE or MACE-LES checkpoint as a jles model, without torch.

    Nothing in the file is executed (jles.interop.torch_zip). Anything unsupported is an error,
    never ignored.

    Args:
        path: the .pth or .model file: a whole pickled module, as published.
        element_energies: eV by chemical symbol. CACE-LES checkpoints contain none: they are 0
            for elements that are not given. Those of MACE checkpoints are read, and replaced by
            the ones that are given.
        long_range_weight: factor of the long-range energy; by default that of the file. A
            checkpoint of the older CACE-LES code can have a weight other than 1 (with a
            warning here). Not every such model was trained with it: compare force errors and
            Born charges with those for a weight of 1.

    Returns:
        The configuration and the parameters: a nested dict with the keys "backbone", "energy"
        and, with latent charges, "charges". Those of CACE are float32 as stored, those of MACE
        float64.

    Raises:
        InputError: not such a checkpoint, an unsupported attribute (named), or an element
            energy for an element that the model does not have; a weight that is not positive,
            or one for a model without a lattice sum.
    """
    path = Path(path)
    model = Module(read_torch_zip(path), path)
    convert = import_mace if model.kind in MACE_MODELS else import_cace
    _check_weight(long_range_weight, path)
    config, params = convert(model, long_range_weight)
    if long_range_weight is not None and config.charges is None:
        raise InputError(f"{path}: long-range weight: the model has no lattice sum")
    given = _check_element_energies(element_energies or {}, config.elements, path)
    return config.replace(element_energies=dict(config.element_energies) | given), params


def _check_weight(weight: float | None, path: Path) -> None:
    if weight is not None and not (math.isfinite(weight) and weight > 0.0):
        raise InputError(f"{path}: long-range weight {weight}: must be positive")


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
