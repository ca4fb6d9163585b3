"""Published torch MACE and MACE-LES checkpoints as (ModelConfig, parameters).

The read-outs of MACE are those of jles: linear maps of the features of all interactions but the
last, and a perceptron on those of the last. The charges of MACE-LES are a copy of them.
"""

import math

import numpy as np
from ase.data import chemical_symbols

from jles.interop.cace_import import import_ewald
from jles.interop.mace_backbone import import_mace_backbone, silu_scale
from jles.interop.module_tree import Module
from jles.models.backbones.mace_config import MaceConfig
from jles.models.config import DirectCharges, ElectrostaticsConfig, ModelConfig, ReadoutConfig
from jles.units import HALF_INVERSE_EPSILON0

MACE_MODELS = (
    "mace.modules.models.MACE",
    "mace.modules.models.ScaleShiftMACE",
    # Where the class was until 2025, and where it is now.
    "mace.modules.models.MACELES",
    "mace.modules.extensions.MACELES",
)


def import_mace(model: Module, weight: float | None = None) -> tuple[ModelConfig, dict]:
    """A MACE, ScaleShiftMACE or MACELES module as configuration and parameters, float64.

    `weight` multiplies the long-range energy.

    Raises:
        InputError: a block or attribute that jles does not support, named.
    """
    # Whether the basis of the couplings is reduced is seen in the couplings themselves.
    model.refuse_flags("use_reduced_cg")
    numbers, backbone, network = import_mace_backbone(model)
    elements = tuple(chemical_symbols[number] for number in numbers)
    energies = model.module("atomic_energies_fn").array("atomic_energies")
    if energies.size != len(elements):
        raise model.error("heads", "more than one head: not supported")
    scale, shift = 1.0, 0.0
    if model.find("scale_shift") is not None:
        module = model.module("scale_shift", ".ScaleShiftBlock")
        scale, shift = module.number("scale"), module.number("shift")
    fields, readout = _import_readouts(model.module("readouts"), backbone)
    if shift:
        readout["linear"]["bias"] = np.array([shift / scale])
    energy = ReadoutConfig(**fields, linear_bias=bool(shift), scale=scale)
    params = {"backbone": network, "energy": readout}
    charges, electrostatics = None, ElectrostaticsConfig()
    if model.kind.endswith(".MACELES"):
        les = model.module("les", "les.les.Les")
        ewald = les.module("ewald")
        # The read-outs of MACE replace those of LES.
        les.refuse_flags("use_atomwise")
        fields, params["charges"] = _import_readouts(model.module("les_readouts"), backbone)
        strength = ewald.number("norm_factor", 1.0) * (1.0 if weight is None else weight)
        if not strength > 0.0:
            raise ewald.error("norm_factor", f"prefactor {strength} of the sum is not positive")
        factor = model.number("les_output_scale", 1.0)
        if not factor > 0.0:
            raise model.error("les_output_scale", f"{factor} is not positive")
        scale = factor * math.sqrt(strength / HALF_INVERSE_EPSILON0)
        charges = DirectCharges(**fields, scale=scale)
        electrostatics = import_ewald(ewald)
    config = ModelConfig(
        elements=elements,
        backbone=backbone,
        energy=energy,
        charges=charges,
        electrostatics=electrostatics,
        normalize_features=False,
        element_energies=dict(zip(elements, map(float, energies.ravel()), strict=True)),
    )
    return config, params


def _import_readouts(module: Module, backbone: MaceConfig) -> tuple[dict, dict]:
    """Fields of a ReadoutConfig and the parameters of a Readout."""
    channels, readouts = backbone.channels, module.children()
    if len(readouts) != backbone.num_interactions:
        raise module.error("", f"{len(readouts)} read-outs, unlike the interactions")
    linear = np.zeros((len(readouts) * channels, 1))
    for t, readout in enumerate(readouts[:-1]):
        if not readout.kind.endswith(".LinearReadoutBlock"):
            raise readout.error("", f"a {readout.kind} is not supported here")
        weight = readout.module("linear", ".Linear").array("weight", (channels,))
        linear[t * channels : (t + 1) * channels, 0] = weight / math.sqrt(channels)
    last = readouts[-1]
    if not last.kind.endswith(".NonLinearReadoutBlock"):
        raise last.error("", f"a {last.kind} is not supported here")
    (activation,) = last.module("non_linearity").module("acts").children()
    second = np.float64(last.module("linear_2", ".Linear").array("weight"))
    hidden = second.size
    first = last.module("linear_1", ".Linear").array("weight", (channels * hidden,))
    kernel = np.zeros((len(readouts) * channels, hidden))
    kernel[-channels:] = first.reshape(channels, hidden) / math.sqrt(channels)
    second = second.reshape(hidden, 1) * (silu_scale(activation) / math.sqrt(hidden))
    layers = {"layers_0": {"kernel": kernel}, "layers_1": {"kernel": second}}
    fields = {"hidden": (hidden,), "bias": False, "linear": True}
    return fields, {"perceptron": layers, "linear": {"kernel": linear}}
