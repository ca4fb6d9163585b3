"""The representation in a checkpoint as a CaceConfig and the parameters of `Cace`."""

import math

import numpy as np

from jles.interop.module_tree import Module
from jles.interop.perceptrons import import_perceptron
from jles.models.backbones.angular import invariant_terms, monomials
from jles.models.backbones.cace_config import CaceConfig

_KINDS = {"NodeMemory": "memory", "MessageAr": "ar", "MessageBchi": "bchi"}


def import_backbone(cace: Module) -> tuple[tuple[int, ...], CaceConfig, dict]:
    """Atomic numbers in table order, configuration and parameters of a Cace module.

    Raises:
        InputError: an attribute that jles does not support, or inconsistent shapes.
    """
    cace.module("edge_coding").refuse_unless("directed", True)
    numbers = _read_numbers(cace)
    embeddings, n_atom = _import_embeddings(cace, len(numbers))
    radial, n_rbf = _import_radial(cace, n_atom**2)
    l_max = len(radial) - 2
    layers = _message_layers(cace)
    fields = {
        **_read_cutoff(cace),
        "n_rbf": n_rbf,
        "n_radial_basis": radial["radial_mixing_0"].shape[1],
        "n_atom_basis": n_atom,
        "l_max": l_max,
        "body_order": int(cace.number("max_nu")),
        "embed_receiver": "receiver_embedding" in embeddings,
        "layers": len(layers),
    }
    if layers:
        fields["mp_norm"] = float(cace.number("mp_norm_factor"))
        fields["messages"] = _message_kinds(cace, layers)
    params = {**embeddings, **radial}
    if l_max > 4 or not 1 <= fields["body_order"] <= 4:
        raise cace.error("max_l", "beyond l 4 or body order 4: not supported")
    for t, layer in enumerate(layers):
        bchi, entries = _import_layer(layer, t, CaceConfig(**fields))
        if t > 0 and any(fields.get(name) != value for name, value in bchi.items()):
            raise cace.error("message_passing_list", "layers of different shape: not supported")
        fields |= bchi
        params |= entries
    return numbers, CaceConfig(**fields), params


def _read_numbers(cace: Module) -> tuple[int, ...]:
    """Atomic numbers from the map of numbers to rows of the table (-1: unknown)."""
    places = cace.module("node_onehot").array("index_map")
    known = {int(place): number for number, place in enumerate(places.ravel()) if place >= 0}
    in_order = sorted(known) == list(range(len(known)))
    if not known or not in_order or 0 in known.values() or max(known.values()) > 118:
        raise cace.error("node_onehot.index_map", "is not a table of elements")
    return tuple(known[place] for place in range(len(known)))


def _import_embeddings(cace: Module, n_elements: int) -> tuple[dict, int]:
    sender = cace.module("node_embedding_sender").array("embedding_weights")
    if sender.ndim != 2:
        raise cace.error("node_embedding_sender.embedding_weights", "is not a table")
    n_atom = sender.shape[1]
    receiver = cace.module("node_embedding_receiver")
    receiver = receiver.array("embedding_weights", (n_elements, n_atom))
    sender = cace.module("node_embedding_sender").array("embedding_weights", receiver.shape)
    tables = {"sender_embedding": np.array(sender)}
    # Equal embeddings are one parameter under two keys, which share their storage.
    if not (np.may_share_memory(sender, receiver) and np.array_equal(sender, receiver)):
        tables["receiver_embedding"] = np.array(receiver)
    return tables, n_atom


def _import_radial(cace: Module, channels: int) -> tuple[dict, int]:
    basis = cace.module("radial_basis", ".BesselRBF")
    frequencies = basis.array("bessel_weights")
    n_rbf = frequencies.size
    transform = cace.module("radial_transform", ".SharedRadialLinearTransform")
    n_radial = int(transform.number("radial_embedding_dim"))
    weights = transform.module("weights").tensors((n_rbf, n_radial, channels))
    if not weights:
        raise transform.error("weights", "is empty")
    params = {"bessel_weights": np.array(frequencies.reshape(-1))}
    ratio = _prefactor_ratio(cace, basis)
    for l, weight in enumerate(weights):
        params[f"radial_mixing_{l}"] = np.array(weight * ratio)
    return params, n_rbf


def _prefactor_ratio(cace: Module, basis: Module) -> np.float32:
    """Factor of the radial mixing, exactly 1 for every published model.

    The stored prefactor of the radial functions is float32(sqrt(2/cutoff)), as in
    backbones.radial. Any other prefactor can be absorbed in the mixing.
    """
    expected = np.float32(math.sqrt(2.0 / cace.module("cutoff_fn").number("cutoff")))
    ratio = np.float32(basis.number("prefactor")) / expected
    return np.float32(1.0) if abs(ratio - 1.0) < 1e-6 else ratio


def _read_cutoff(cace: Module) -> dict:
    """Cutoff and power of the envelope, as stored in float32."""
    envelope = cace.module("cutoff_fn", ".PolynomialCutoff")
    cutoff, power = envelope.number("cutoff"), envelope.number("p")
    if not (cutoff > 0.0 and power > 0.0):
        raise envelope.error("cutoff", f"cutoff {cutoff} and power {power} must be positive")
    others = {
        "cutoff": cace.number("cutoff", cutoff),
        "radial_basis.cutoff": cace.module("radial_basis").number("cutoff", cutoff),
    }
    for name, value in others.items():
        if not math.isclose(value, cutoff, rel_tol=1e-6):
            raise cace.error(name, f"{value} contradicts the cutoff {cutoff} of cutoff_fn")
    return {"cutoff": float(cutoff), "envelope": "polynomial", "envelope_power": float(power)}


def _message_layers(cace: Module) -> list[dict[str, Module]]:
    """Messages of every layer, by kind."""
    if cace.find("message_passing_list") is None:
        return []
    layers = []
    for layer in cace.module("message_passing_list").children():
        kinds = {}
        for message in layer.children():
            name = message.kind.rsplit(".", 1)[-1]
            if name not in _KINDS or _KINDS[name] in kinds:
                raise message.error("", f"{message.kind} is not supported as a message here")
            kinds[_KINDS[name]] = message
        layers.append(kinds)
    return layers


def _message_kinds(cace: Module, layers) -> tuple[str, ...]:
    kinds = [tuple(kind for kind in _KINDS.values() if kind in layer) for layer in layers]
    if len(set(kinds)) != 1 or not kinds[0]:
        raise cace.error("message_passing_list", "layers of different kinds: not supported")
    return kinds[0]


def _import_layer(layer: dict[str, Module], t: int, config: CaceConfig) -> tuple[dict, dict]:
    """Config fields of the Bchi network, and the parameters of layer `t`."""
    shape = (config.n_radial_basis, config.n_atom_basis**2)
    fields, params = {}, {}
    per_degree = {
        "memory": {"memory": "memory_coef"},
        "ar": {"ar_prefactor": "prefactor", "ar_decay": "invr0"},
    }
    for kind, names in per_degree.items():
        for ours, theirs in names.items() if kind in layer else ():
            tensors = layer[kind].module(theirs).tensors(shape)
            if len(tensors) != config.l_max + 1:
                problem = f"{len(tensors)} tensors; expected {config.l_max + 1}, one for each l"
                raise layer[kind].error(theirs, problem)
            params |= {f"{ours}_{t}_{l}": np.array(tensor) for l, tensor in enumerate(tensors)}
    if "bchi" in layer:
        fields, params[f"bchi_{t}"] = _import_bchi(layer["bchi"], config)
    return fields, params


def _import_bchi(message: Module, config: CaceConfig) -> tuple[dict, dict]:
    for name in ("residual", "use_batchnorm"):
        message.refuse_unless(name, False)
    per_l = not message.get("shared_l", bool, message.find("l_matrix") is None)
    per_channel = not message.get("shared_channels", bool, True)
    channels = config.n_atom_basis**2
    n_invariants = len(invariant_terms(config.l_max, config.body_order))
    n_in = config.n_radial_basis * n_invariants * channels
    n_out = (config.l_max + 1 if per_l else 1) * (channels if per_channel else 1)
    if per_l:
        message.array("l_matrix", (config.l_max + 1, len(monomials(config.l_max))))
    hidden, bias, layers = import_perceptron(message.module("hnet"), n_in, n_out)
    if not bias:
        raise message.error("hnet", "has no bias: not supported")
    fields = {"bchi_hidden": hidden, "bchi_per_l": per_l, "bchi_per_channel": per_channel}
    return fields, layers
