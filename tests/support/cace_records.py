"""Checkpoints like the published ones, made up from a configuration and its parameters."""

import math

import numpy as np

from jles.interop.pickle_records import Global, Record
from jles.models.backbones.angular import monomials
from jles.models.config import ModelConfig
from jles.units import HALF_INVERSE_EPSILON0

SILU = Global("torch.nn.functional.silu")
_KINDS = {"memory": "NodeMemory", "ar": "MessageAr", "bchi": "MessageBchi"}


def module(kind: str, modules=None, tensors=None, **attributes) -> Record:
    """A torch module: submodules, tensors and plain attributes."""
    state = {"training": False, "_parameters": tensors or {}, "_buffers": {}}
    return Record(kind, state | {"_modules": modules or {}} | attributes)


def listed(items, kind="ModuleList") -> Record:
    """A container of modules."""
    names = {str(n): item for n, item in enumerate(items)}
    return module(f"torch.nn.modules.container.{kind}", names)


def tensors(items) -> Record:
    """A list of parameters."""
    names = {str(n): np.asarray(item) for n, item in enumerate(items)}
    return module("torch.nn.modules.container.ParameterList", tensors=names)


def dense(layer: dict, is_last: bool, package="cace.modules") -> Record:
    """One layer of a perceptron."""
    weights = {"weight": np.asarray(layer["kernel"]).T, "bias": layer.get("bias")}
    linear = module("torch.nn.modules.linear.Linear", tensors=weights)
    identity = module("torch.nn.modules.linear.Identity")
    plain = {"use_batchnorm": False} | ({} if is_last else {"activation": SILU})
    modules = {"linear": linear} | ({"activation": identity} if is_last else {})
    return module(f"{package}.blocks.Dense", modules, **plain)


def network(layers: dict, package="cace.modules") -> Record:
    """A stack of layers."""
    last = len(layers) - 1
    blocks = [dense(layers[f"layers_{n}"], n == last, package) for n in range(last + 1)]
    return listed(blocks, "Sequential")


def atomwise(params: dict, n_out=1, package="cace.modules", **attributes) -> Record:
    """A read-out."""
    modules = {"outnet": network(params["perceptron"], package)}
    if "linear" in params:
        modules["linear_nn"] = dense(params["linear"], True, package)
    plain = {"n_out": n_out, "feature_key": "node_feats", "aggregation_mode": "sum"}
    plain |= {"add_linear_nn": "linear" in params, "residual": False, "use_batchnorm": False}
    return module(f"{package}.atomwise.Atomwise", modules, **plain | attributes)


def representation(config: ModelConfig, params: dict) -> Record:
    """The backbone."""
    backbone = config.backbone
    places = np.full(max(config.numbers) + 1, -1)
    places[list(config.numbers)] = np.arange(len(config.numbers))
    sender = np.asarray(params["sender_embedding"])
    receiver = np.asarray(params["receiver_embedding"]) if backbone.embed_receiver else sender
    float32 = np.float32
    modules = {
        "node_onehot": module("cace.modules.type.NodeEncoder", tensors={"index_map": places}),
        "node_embedding_sender": _embedding(sender),
        "node_embedding_receiver": _embedding(receiver),
        "edge_coding": module("cace.modules.type.EdgeEncoder", directed=True),
        "radial_basis": module(
            "cace.modules.radial.BesselRBF",
            tensors={
                "bessel_weights": np.asarray(params["bessel_weights"]),
                "cutoff": np.array(backbone.cutoff, float32),
                "prefactor": np.array(math.sqrt(2.0 / backbone.cutoff), float32),
            },
        ),
        "cutoff_fn": module(
            "cace.modules.cutoff.PolynomialCutoff",
            tensors={
                "p": np.array(backbone.envelope_power, float32),
                "cutoff": np.array(backbone.cutoff, float32),
            },
        ),
        "radial_transform": module(
            "cace.modules.radial_transform.SharedRadialLinearTransform",
            {"weights": tensors(_by_degree(params, "radial_mixing", backbone.l_max))},
            radial_embedding_dim=backbone.n_radial_basis,
        ),
        "message_passing_list": listed(
            [listed(_messages(backbone, params, t)) for t in range(backbone.layers)]
        ),
    }
    plain = {"cutoff": backbone.cutoff, "max_l": backbone.l_max, "max_nu": backbone.body_order}
    plain |= {"mp_norm_factor": backbone.mp_norm, "forward_features": []}
    return module("cace.representations.cace_representation.Cace", modules, **plain)


def _embedding(table) -> Record:
    return module("cace.modules.type.NodeEmbedding", tensors={"embedding_weights": table})


def _by_degree(params, name, l_max):
    return [params[f"{name}_{l}"] for l in range(l_max + 1)]


def _messages(backbone, params, t):
    """Memory, Ar and Bchi of layer `t`; None where one is not used."""
    for kind, name in _KINDS.items():
        if kind not in backbone.messages:
            yield None
            continue
        modules, plain = {}, {}
        if kind == "memory":
            modules["memory_coef"] = tensors(_by_degree(params, f"memory_{t}", backbone.l_max))
        elif kind == "ar":
            modules["prefactor"] = tensors(
                _by_degree(params, f"ar_prefactor_{t}", backbone.l_max)
            )
            modules["invr0"] = tensors(_by_degree(params, f"ar_decay_{t}", backbone.l_max))
        else:
            modules["hnet"] = network(params[f"bchi_{t}"])
            plain["shared_l"] = not backbone.bchi_per_l
            plain["shared_channels"] = not backbone.bchi_per_channel
        message = module(f"cace.modules.interaction.{name}", modules, **plain)
        if kind == "bchi" and backbone.bchi_per_l:
            shape = (backbone.l_max + 1, len(monomials(backbone.l_max)))
            message.state["_buffers"]["l_matrix"] = np.ones(shape, np.float32)
        yield message


def ewald(config: ModelConfig, **attributes) -> Record:
    """The lattice sum; `config` has its prefactor in the scale of the charges."""
    electrostatics = config.electrostatics
    plain = {
        "dl": 2.0 * math.pi / electrostatics.k_max,
        "sigma": electrostatics.sigma,
        "norm_factor": HALF_INVERSE_EPSILON0 * config.charges.scale**2,
        "remove_self_interaction": electrostatics.remove_self,
        "feature_key": "q",
        "output_key": "ewald_potential",
    }
    return module("cace.modules.ewald.EwaldPotential", **plain | attributes)


def potential(backbone: Record, outputs, energy_key: str) -> Record:
    """A backbone with its read-outs."""
    forces = module("cace.modules.forces.Forces", energy_key=energy_key)
    modules = {"representation": backbone, "output_modules": listed([*outputs, forces])}
    return module("cace.models.atomistic.NeuralNetworkPotential", modules)


def single(config: ModelConfig, params: dict) -> Record:
    """One network: short range, charges, their lattice sum, and the sum of both."""
    outputs = [atomwise(params["energy"], output_key="SR_energy")]
    keys = ["SR_energy"]
    if config.charges is not None:
        names = {"output_key": "tot_q", "per_atom_output_key": "q"}
        outputs += [
            atomwise(params["charges"], config.charges.channels, **names),
            ewald(config),
        ]
        keys.append("ewald_potential")
    add = module("cace.modules.feature_mix.FeatureAdd", feature_keys=keys, output_key="total")
    return potential(representation(config, params["backbone"]), [*outputs, add], "total")


def newer(config: ModelConfig, params: dict, output_scaling_factor: float) -> Record:
    """One network with the newer charge module, which comes first."""
    charges = atomwise(
        params["charges"],
        config.charges.channels,
        "les.module",
        output_scaling_factor=output_scaling_factor,
    )
    strength = HALF_INVERSE_EPSILON0 * (config.charges.scale / output_scaling_factor) ** 2
    lattice = ewald(config, norm_factor=strength)
    lattice.class_name = "les.module.ewald.Ewald"
    les = module("les.les.Les", {"atomwise": charges, "ewald": lattice}, use_atomwise=True)
    wrapper = module("cace.modules.les_wrapper.LesWrapper", {"les": les}, energy_key="E_lr")
    add = module(
        "cace.modules.feature_mix.FeatureAdd", feature_keys=["E", "E_lr"], output_key="total"
    )
    outputs = [wrapper, atomwise(params["energy"], output_key="E"), add]
    return potential(representation(config, params["backbone"]), outputs, "total")


def combined(config: ModelConfig, params: dict, long_range_weight: float) -> Record:
    """Two networks that share a backbone, added with weights."""
    backbone = representation(config, params["backbone"])
    short = potential(backbone, [atomwise(params["energy"], output_key="E")], "E")
    names = {"output_key": "tot_q", "per_atom_output_key": "q"}
    strength = HALF_INVERSE_EPSILON0 * config.charges.scale**2 / long_range_weight
    charges = atomwise(params["charges"], config.charges.channels, **names)
    long = potential(
        backbone, [charges, ewald(config, norm_factor=strength)], "ewald_potential"
    )
    keys = [
        {"CACE_energy": "E", "weight": config.energy.scale},
        {"CACE_energy": "ewald_potential", "weight": long_range_weight},
    ]
    return module(
        "cace.models.combined.CombinePotential",
        {"models": listed([short, long])},
        potential_keys=keys,
        operation=Global("cace.models.combined.default_operation"),
    )
