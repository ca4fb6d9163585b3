"""Published torch CACE-LES checkpoints as (ModelConfig, parameters).

The models are those of jles.models. The import renames and transposes parameters and converts
charges to e: the prefactor of the lattice sum becomes 1/(2 eps0) = 90.4756 eV angstrom / e^2,
whatever prefactor (`norm_factor`, weight of a combined model) the checkpoint has.
"""

import math
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from jles.errors import InputError
from jles.interop.cace_backbone import import_backbone
from jles.interop.energy_terms import Terms, total_energy_terms
from jles.interop.module_tree import Module
from jles.interop.perceptrons import import_readout
from jles.interop.torch_zip import read_torch_zip
from jles.models.config import DirectCharges, ElectrostaticsConfig, ModelConfig, ReadoutConfig
from jles.units import HALF_INVERSE_EPSILON0


def import_torch(
    path, element_energies: dict[str, float] | None = None
) -> tuple[ModelConfig, dict]:
    """A published torch CACE-LES checkpoint as a jles model, without torch.

    Nothing in the file is executed (jles.interop.torch_zip). Combined potentials and the newer
    charge module are supported. Anything unsupported is an error, never ignored.

    Args:
        path: the .pth file: a whole pickled module, as published.
        element_energies: eV by chemical symbol, which no checkpoint contains; 0 for elements
            that are not given.

    Returns:
        The configuration and the parameters, float32 as stored: a nested dict with the keys
        "backbone", "energy" and, with latent charges, "charges".

    Raises:
        InputError: not such a checkpoint, an unsupported attribute (named), or an element
            energy for an element that the model does not have.
    """
    path = Path(path)
    terms = total_energy_terms(Module(read_torch_zip(path), path))
    numbers, backbone, params = import_backbone(terms.backbone)
    elements = tuple(chemical_symbols[number] for number in numbers)
    energies = _check_element_energies(element_energies or {}, elements, path)

    hidden, linear, tree = import_readout(terms.short_range, backbone, outputs=1)
    energy = ReadoutConfig(hidden, **linear, scale=terms.short_range_weight)
    params = {"backbone": params, "energy": tree}
    charges, electrostatics = None, ElectrostaticsConfig()
    if terms.charges is not None:
        charges, electrostatics, params["charges"] = _import_long_range(terms, backbone)
    config = ModelConfig(
        elements=elements,
        backbone=backbone,
        energy=energy,
        charges=charges,
        electrostatics=electrostatics,
        normalize_features=False,
        element_energies=energies,
    )
    return config, params


def _import_long_range(terms: Terms, backbone):
    """Charge read-out and lattice sum, whose prefactor is absorbed in the charges."""
    ewald, atomwise = terms.ewald, terms.charges
    strength = ewald.number("norm_factor", 1.0) * terms.long_range_weight
    if not strength > 0.0:
        raise ewald.error("norm_factor", f"prefactor {strength} of the sum; must be positive")
    scale = atomwise.number("output_scaling_factor", 1.0)
    scale *= math.sqrt(strength / HALF_INVERSE_EPSILON0)
    channels = int(atomwise.number("n_out", 1))
    hidden, linear, tree = import_readout(atomwise, backbone, channels)
    charges = DirectCharges(hidden, **linear, scale=scale, channels=channels, total="free")
    return charges, _import_ewald(ewald), tree


def _import_ewald(ewald: Module) -> ElectrostaticsConfig:
    ewald.refuse_unless("exponent", 1, 1.0)
    ewald.refuse_unless("external_field")
    ewald.refuse_unless("charge_neutral_lambda", 0, 0.0)
    ewald.refuse_unless("aggregation_mode", "sum")
    spacing, sigma = ewald.number("dl"), ewald.number("sigma")
    if not (spacing > 0.0 and sigma > 0.0):
        raise ewald.error("", f"dl {spacing} and sigma {sigma} must be positive (angstrom)")
    k_max = 2.0 * math.pi / spacing
    derived = {"k_sq_max": k_max**2, "sigma_sq_half": sigma**2 / 2.0}
    for name, value in derived.items():
        if not math.isclose(ewald.number(name, value), value, rel_tol=1e-9):
            problem = f"contradicts dl {spacing} or sigma {sigma}; expected {value}"
            raise ewald.error(name, problem)
    return ElectrostaticsConfig(
        sigma=float(sigma),
        k_max=k_max,
        cutoff="sharp",
        remove_self=ewald.get("remove_self_interaction", bool, False),
        # The older module divides by r + 1e-6 angstrom in clusters, the newer one by r.
        pair_offset=1e-6 if ewald.kind.endswith(".EwaldPotential") else 0.0,
    )


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
