"""Checkpoints like the published MACE ones, made up from a configuration and its parameters."""

import math

import numpy as np

from jles.interop.pickle_records import Record
from jles.models.backbones.irreps import symmetric_basis
from jles.models.config import ModelConfig
from jles.units import HALF_INVERSE_EPSILON0
from tests.support.cace_records import SILU, listed, module, tensors
from tests.support.torch_archive import call


def irreps(channels: int, highest: int) -> Record:
    """Irreps of one width and natural parity."""
    terms = []
    for l in range(highest + 1):
        irrep = Record("e3nn.o3._irreps.Irrep", {}, ((l, (-1) ** l),))
        terms.append(Record("e3nn.o3._irreps._MulIr", {}, ((channels, irrep),)))
    return Record("e3nn.o3._irreps.Irreps", {}, (tuple(terms),))


def linear(weights, **attributes) -> Record:
    """A linear map between irreps: all weights in one row, and a compiled piece."""
    flat = np.concatenate([np.asarray(weight, np.float32).ravel() for weight in weights])
    held = {"weight": flat, "bias": np.zeros(0, np.float32)}
    return module("e3nn.o3._linear.Linear", tensors=held, **attributes)


def activation(scale: float) -> Record:
    """A normalized SiLU."""
    return module("e3nn.math._normalize_activation.normalize2mom", f=SILU, cst=scale)


def block(name: str, modules=None, held=None, **attributes) -> Record:
    """A module of mace.modules.blocks."""
    return module(f"mace.modules.blocks.{name}", modules, held, **attributes)


def interaction(config, t: int, params: dict) -> Record:
    """Messages of one interaction."""
    kind = config.interaction if t else config.interaction_first
    degrees = range(config.max_ell + 1)
    layers = {
        f"layer{n}": module(
            "e3nn.nn._fc._Layer",
            {"act": activation(config.silu_scale)} if n < len(config.radial_MLP) else {},
            {"weight": params[f"radial_{n}"].astype(np.float32)},
        )
        for n in range(len(config.radial_MLP) + 1)
    }
    sizes = [
        config.num_bessel,
        *config.radial_MLP,
        params[f"radial_{len(layers) - 1}"].shape[1],
    ]
    up = [params[f"linear_up_{l}"] for l in degrees if f"linear_up_{l}" in params]
    skips = [params[f"skip_{l}"] for l in degrees if f"skip_{l}" in params]
    skip = "e3nn.o3._tensor_product._sub.FullyConnectedTensorProduct"
    flat = np.concatenate([one.astype(np.float32).ravel() for one in skips])
    modules = {
        "linear_up": linear(up),
        "conv_tp_weights": module("e3nn.nn._fc.FullyConnectedNet", layers, hs=sizes),
        "linear": linear([params[f"linear_{l}"] for l in degrees]),
        "skip_tp": module(skip, tensors={"weight": flat}),
    }
    return block(kind, modules, avg_num_neighbors=config.avg_num_neighbors)


def product(config, t: int, params: dict) -> Record:
    """Products of one interaction, in the basis of jles."""
    target, contractions = config.degree_after(t), []
    for l in range(target + 1):
        tables = {}
        for order in range(1, config.correlation + 1):
            basis = np.moveaxis(symmetric_basis(config.max_ell, order, l), -1, 0)
            tables[f"U_matrix_{order}"] = basis[0 if l == 0 else slice(None)].copy()
        weights = [params[f"product_{l}_{order}"] for order in range(1, config.correlation + 1)]
        graph = call("torch.fx.graph_module.reduce_graph_module", {"_code": "def f(): 1"}, "")
        modules = {"weights": tensors(weights[-2::-1]), "graph_opt_main": graph}
        held = tables | {"weights_max": weights[-1]}
        kind = "mace.modules.symmetric_contraction.Contraction"
        contractions.append(module(kind, modules, held, correlation=config.correlation))
    kind = "mace.modules.symmetric_contraction.SymmetricContraction"
    matrices = [params[f"linear_out_{l}"] for l in range(target + 1)]
    modules = {
        "symmetric_contractions": module(kind, {"contractions": listed(contractions)}),
        "linear": linear(matrices, irreps_out=irreps(config.channels, target)),
    }
    return block("EquivariantProductBasisBlock", modules)


def readouts(config, params: dict) -> Record:
    """Linear maps of all interactions but the last, whose read-out has a hidden layer."""
    channels, root = config.channels, math.sqrt(config.channels)
    weights = params["linear"]["kernel"].reshape(-1, channels) * root
    maps = [block("LinearReadoutBlock", {"linear": linear([w])}) for w in weights[:-1]]
    first, second = (params["perceptron"][f"layers_{n}"]["kernel"] for n in range(2))
    acts = listed([activation(config.silu_scale)])
    scale = math.sqrt(len(second)) / config.silu_scale
    last = {
        "linear_1": linear([first[-channels:] * root]),
        "non_linearity": module("e3nn.nn._activation.Activation", {"acts": acts}),
        "linear_2": linear([second * scale]),
    }
    return listed([*maps, block("NonLinearReadoutBlock", last)])


def mace_les(config: ModelConfig, params: dict) -> Record:
    """A MACELES module; float64 parameters other than those of products become float32."""
    backbone, network = config.backbone, params["backbone"]
    cutoff = backbone.cutoff
    bessel = {
        "bessel_weights": network["bessel_weights"].astype(np.float32),
        "r_max": cutoff,
        "prefactor": math.sqrt(2.0 / cutoff),
    }
    radial = {
        "bessel_fn": module("mace.modules.radial.BesselBasis", **bessel),
        "cutoff_fn": module(
            "mace.modules.radial.PolynomialCutoff",
            r_max=cutoff,
            p=backbone.num_polynomial_cutoff,
        ),
    }
    layers = range(backbone.num_interactions)
    own = [network[f"interaction_{t}"] for t in layers]
    energies = np.array([[config.element_energies[e] for e in config.elements]])
    ewald = module(
        "les.module.ewald.Ewald",
        dl=2.0 * math.pi / config.electrostatics.k_max,
        sigma=config.electrostatics.sigma,
        remove_self_interaction=config.electrostatics.remove_self,
        norm_factor=HALF_INVERSE_EPSILON0 * config.charges.scale**2,
    )
    harmonics = "e3nn.o3._spherical_harmonics.SphericalHarmonics"
    modules = {
        "node_embedding": block(
            "LinearNodeEmbeddingBlock", {"linear": linear([network["embedding"]])}
        ),
        "radial_embedding": block("RadialEmbeddingBlock", radial),
        "spherical_harmonics": module(harmonics, _lmax=backbone.max_ell),
        "atomic_energies_fn": block("AtomicEnergiesBlock", held={"atomic_energies": energies}),
        "interactions": listed([interaction(backbone, t, own[t]) for t in layers]),
        "products": listed([product(backbone, t, own[t]) for t in layers]),
        "readouts": readouts(backbone, params["energy"]),
        "scale_shift": block(
            "ScaleShiftBlock",
            scale=config.energy.scale,
            shift=float(params["energy"]["linear"]["bias"][0]) * config.energy.scale,
        ),
        "les": module("les.les.Les", {"ewald": ewald}),
        "les_readouts": readouts(backbone, params["charges"]),
    }
    held = {"atomic_numbers": np.array(config.numbers), "r_max": np.array(cutoff, np.float32)}
    return module(
        "mace.modules.models.MACELES",
        modules,
        held,
        num_interactions=backbone.num_interactions,
        heads=["default"],
    )
