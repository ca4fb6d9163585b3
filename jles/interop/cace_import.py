"""Published torch CACE-LES checkpoints as (ModelConfig, parameters).

The models are those of jles.models. The import renames and transposes parameters and converts
charges to e: the prefactor of the lattice sum becomes 1/(2 eps0) = 90.4756 eV angstrom / e^2,
whatever prefactor (`norm_factor`, weight of a combined model) the checkpoint has.
"""

import math
import warnings
from dataclasses import replace

import numpy as np
from ase.data import chemical_symbols

from jles.errors import InputWarning
from jles.interop.cace_backbone import import_backbone
from jles.interop.energy_terms import Terms, total_energy_terms
from jles.interop.module_tree import Module
from jles.interop.perceptrons import import_readout, reads_charge_state
from jles.models.config import DirectCharges, ElectrostaticsConfig, ModelConfig, ReadoutConfig
from jles.models.state_config import StateConfig
from jles.units import HALF_INVERSE_EPSILON0


def import_cace(model: Module, weight: float | None = None) -> tuple[ModelConfig, dict]:
    """A potential or a combined potential as configuration and parameters, float32 as stored.

    `weight` of the long-range energy replaces that of the file.

    Raises:
        InputError: an attribute that jles does not support, named.
    """
    terms = _weighted(total_energy_terms(model), weight, model)
    numbers, backbone, params = import_backbone(terms.backbone)
    elements = tuple(chemical_symbols[number] for number in numbers)

    hidden, linear, tree = import_readout(terms.short_range, backbone, outputs=1)
    energy = ReadoutConfig(hidden, **linear, scale=terms.short_range_weight)
    params = {"backbone": params, "energy": tree}
    charges, electrostatics = None, ElectrostaticsConfig()
    if terms.charges is not None:
        charges, electrostatics, params["charges"] = _import_long_range(terms, backbone)
    state = _import_state(terms, params)
    config = ModelConfig(
        elements=elements,
        backbone=backbone,
        state=state,
        energy=energy,
        charges=charges,
        electrostatics=electrostatics,
        normalize_features=False,
    )
    return config, params


def _weighted(terms: Terms, weight: float | None, model: Module) -> Terms:
    """With this weight of the long-range energy, or that of the file, with a warning if not 1.

    Two of three published files with another weight hold models that were trained with a weight
    of 1 (experiments/README.md, "Weights in published files").
    """
    if weight is not None:
        return replace(terms, long_range_weight=weight)
    if terms.long_range_weight != 1.0:
        warnings.warn(
            f"{model.file}: the long-range energy has a weight of "
            f"{terms.long_range_weight:g}, which its training may not have had: compare errors "
            "of forces with --long-range-weight 1 (long_range_weight=1 in Python)",
            InputWarning,
            stacklevel=2,
        )
    return terms


def _import_state(terms: Terms, params: dict) -> StateConfig | None:
    """The charge state as input of read-outs; those that do not read it get zero weights.

    The backbone passes on named inputs (`forward_features`), which have no effect unless a
    read-out names them too. `charge_states` holds the total charge of the structure, in e, for
    every atom.
    """
    readouts = {"energy": terms.short_range, "charges": terms.charges}
    readouts = {name: module for name, module in readouts.items() if module is not None}
    reads = {name: reads_charge_state(module) for name, module in readouts.items()}
    if not any(reads.values()):
        return None
    for name in [name for name, does in reads.items() if not does]:
        for first in (params[name]["perceptron"]["layers_0"], params[name].get("linear")):
            if first is not None:
                first["kernel"] = np.pad(first["kernel"], ((0, 1), (0, 0)))
    return StateConfig(enters="features")


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
    electrostatics = import_ewald(ewald)
    if electrostatics.remove_self and ewald.kind.endswith(".EwaldPotential"):
        # The older module subtracts the self energy of all charges from the sum of each one.
        electrostatics = electrostatics.replace(self_terms=channels)
    return charges, electrostatics, tree


def import_ewald(ewald: Module) -> ElectrostaticsConfig:
    """The lattice sum of a checkpoint.

    Raises:
        InputError: an option that jles does not support, named.
    """
    ewald.refuse_flags()
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
