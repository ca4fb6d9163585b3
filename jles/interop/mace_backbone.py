"""The network of a MACE checkpoint as a MaceConfig and the parameters of `Mace`.

Weights are stored as torch uses them: of order one, divided by the root of their fan-in when
used. The checkpoint couples products of features in a redundant basis; its weights are
converted to the symmetric basis of jles, which spans the same products.
"""

import math
from itertools import permutations

import numpy as np

from jles.interop.module_tree import Module
from jles.interop.pickle_records import Global, Record
from jles.models.backbones.irrep_messages import paths
from jles.models.backbones.irreps import symmetric_basis
from jles.models.backbones.mace_config import MaceConfig

_INTERACTIONS = (".RealAgnosticInteractionBlock", ".RealAgnosticResidualInteractionBlock")


def import_mace_backbone(model: Module) -> tuple[tuple[int, ...], MaceConfig, dict]:
    """Atomic numbers in table order, configuration and parameters.

    Raises:
        InputError: a block or attribute that jles does not support, or inconsistent shapes.
    """
    for name in ("pair_repulsion_fn", "joint_embedding"):
        model.refuse_unless(name)
    model.refuse_unless("pair_repulsion", False)
    numbers = tuple(int(number) for number in model.array("atomic_numbers").ravel())
    if not numbers or not all(0 < number <= 118 for number in numbers):
        raise model.error("atomic_numbers", "is not a list of elements")
    layers = model.module("interactions").children()
    products = model.module("products").children()
    if len(layers) != model.number("num_interactions") or len(products) != len(layers):
        raise model.error("interactions", f"{len(layers)} of them, unlike num_interactions")
    config = _config(model, layers, products)
    embedding = model.module("node_embedding").module("linear", ".Linear")
    radial = model.module("radial_embedding").module("bessel_fn", ".BesselBasis")
    params = {
        "embedding": _matrix(embedding, len(numbers), config.channels),
        "bessel_weights": _double(radial.array("bessel_weights", (config.num_bessel,))),
    }
    for t, (layer, product) in enumerate(zip(layers, products, strict=True)):
        own = _import_interaction(layer, t, config, len(numbers))
        own |= _import_products(product, t, config, len(numbers))
        params[f"interaction_{t}"] = own
    return numbers, config, params


def _config(model: Module, layers, products) -> MaceConfig:
    """The configuration; what the layers must agree on is checked where they are read."""
    radial = model.module("radial_embedding")
    cutoff = radial.module("cutoff_fn", ".PolynomialCutoff")
    bessel = radial.module("bessel_fn", ".BesselBasis")
    expected = math.sqrt(2.0 / model.number("r_max"))
    if not math.isclose(bessel.number("prefactor"), expected, rel_tol=1e-6):
        raise bessel.error("prefactor", f"expected {expected:g}, the root of 2 / r_max")
    for module in (cutoff, bessel):
        if module.number("r_max") != model.number("r_max"):
            raise module.error("r_max", "contradicts r_max of the model")
    widths = [
        _irreps(product.module("linear", ".Linear"), "irreps_out") for product in products
    ]
    harmonics = model.module("spherical_harmonics")
    first = layers[0].module("conv_tp_weights", ".FullyConnectedNet")
    perceptron = [int(size) for size in first.get("hs", list)]
    for layer in layers:
        if not layer.kind.endswith(_INTERACTIONS):
            raise layer.error("", f"a {layer.kind} is not supported")
    names = [layer.kind.rsplit(".", 1)[-1] for layer in layers]
    if len(set(names[1:])) > 1:
        raise model.error("interactions", "layers of different kinds: not supported")
    contraction = products[0].module("symmetric_contractions").module("contractions")
    return MaceConfig(
        cutoff=float(model.number("r_max")),
        num_interactions=len(layers),
        hidden_irreps=_text(*widths[0]),
        last_irreps=_text(*widths[-1]),
        max_ell=int(harmonics.number("_lmax")),
        correlation=int(contraction.children()[0].number("correlation")),
        num_bessel=bessel.array("bessel_weights").size,
        num_polynomial_cutoff=int(cutoff.number("p")),
        radial_MLP=tuple(perceptron[1:-1]),
        interaction_first=names[0],
        interaction=names[-1] if len(names) > 1 else names[0],
        avg_num_neighbors=float(layers[0].number("avg_num_neighbors")),
        silu_scale=silu_scale(first.module("layer0").module("act")),
    )


def silu_scale(activation: Module) -> float:
    """The factor of a normalized SiLU.

    Raises:
        InputError: another activation.
    """
    if activation.find("f") != Global("torch.nn.functional.silu"):
        raise activation.error("f", "only silu is supported")
    return float(activation.number("cst"))


def _irreps(module: Module, name: str) -> tuple[int, int]:
    """Channels and highest degree of irreps of one width and natural parity."""
    found = [(many, *_items(irrep)) for many, irrep in map(_items, _items(module.find(name)))]
    if not found or found != [(found[0][0], l, (-1) ** l) for l in range(len(found))]:
        raise module.error(name, "irreps of different width or parity: not supported")
    return found[0][0], len(found) - 1


def _items(value) -> tuple:
    """The items of a tuple that was pickled as an instance of a class; (0, 0) of others."""
    if isinstance(value, Record) and len(value.arguments) == 1:
        return tuple(value.arguments[0])
    return (0, 0)


def _text(channels: int, highest: int) -> str:
    return " + ".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(highest + 1))


def _double(array) -> np.ndarray:
    return np.array(array, np.float64)


def _matrix(linear: Module, *shape: int) -> np.ndarray:
    """The weights of a linear map between irreps, all in one array of this shape."""
    if linear.find("bias") is not None and linear.array("bias").size:
        raise linear.error("bias", "is not supported")
    return _double(linear.array("weight", (math.prod(shape),)).reshape(shape))


def _blocks(linear: Module, rows: list[int], channels: int) -> list[np.ndarray]:
    """One matrix for each degree, stored one after the other."""
    flat = _matrix(linear, sum(rows) * channels)
    ends = np.cumsum(rows)[:-1] * channels
    return [part.reshape(-1, channels) for part in np.split(flat, ends)]


def _import_interaction(layer: Module, t: int, config: MaceConfig, elements: int) -> dict:
    """Parameters of the messages of interaction `t`."""
    if not math.isclose(layer.number("avg_num_neighbors"), config.avg_num_neighbors):
        raise layer.error("avg_num_neighbors", "differs between layers: not supported")
    channels = config.channels
    source = config.degree_after(t - 1) if t else 0
    every = paths(source, config.max_ell)
    many = [sum(path.target == l for path in every) for l in range(config.max_ell + 1)]
    network = layer.module("conv_tp_weights", ".FullyConnectedNet")
    sizes = (config.num_bessel, *config.radial_MLP, len(every) * channels)
    params = {}
    for n, shape in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        one = network.module(f"layer{n}", "._Layer")
        params[f"radial_{n}"] = _double(one.array("weight", shape))
        if n < len(sizes) - 2 and silu_scale(one.module("act")) != config.silu_scale:
            raise one.error("act", "differs between layers: not supported")
    maps = {"linear_up": [channels] * (source + 1), "linear": [n * channels for n in many]}
    for name, rows in maps.items():
        blocks = _blocks(layer.module(name, ".Linear"), rows, channels)
        params |= {f"{name}_{l}": block for l, block in enumerate(blocks)}
    residual = layer.kind.endswith(_INTERACTIONS[1])
    highest = min(source, config.degree_after(t)) if residual else config.max_ell
    skip = layer.module("skip_tp", ".FullyConnectedTensorProduct")
    weights = _matrix(skip, highest + 1, channels, elements, channels)
    return params | {f"skip_{l}": weights[l] for l in range(highest + 1)}


def _import_products(product: Module, t: int, config: MaceConfig, elements: int) -> dict:
    """Parameters of the products of interaction `t`."""
    channels, target = config.channels, config.degree_after(t)
    contractions = product.module("symmetric_contractions").module("contractions").children()
    if len(contractions) != target + 1:
        problem = (
            f"{len(contractions)} contractions; expected {target + 1}, one for each degree"
        )
        raise product.error("symmetric_contractions", problem)
    params = {}
    for l, contraction in enumerate(contractions):
        for order in range(1, config.correlation + 1):
            if order == config.correlation:
                weights = contraction.array("weights_max")
            else:
                lower = contraction.module("weights")
                weights = lower.array(str(config.correlation - 1 - order))
            change = _change_of_basis(contraction, config.max_ell, order, l)
            if weights.shape != (elements, change.shape[1], channels):
                raise contraction.error("weights", f"shape {weights.shape} does not fit")
            new = np.einsum("pk,ekc->epc", change, _double(weights))
            params[f"product_{l}_{order}"] = new
    blocks = _blocks(product.module("linear", ".Linear"), [channels] * (target + 1), channels)
    return params | {f"linear_out_{l}": block for l, block in enumerate(blocks)}


def _change_of_basis(contraction: Module, max_ell: int, order: int, l: int) -> np.ndarray:
    """From the couplings of the checkpoint to those of jles, (ours, theirs)."""
    ours = symmetric_basis(max_ell, order, l)
    ours = np.moveaxis(ours, -1, 0).reshape(-1, ours.shape[-2])
    theirs = _double(contraction.array(f"U_matrix_{order}"))
    axes = theirs.ndim - 1 - order
    if theirs.size % len(ours):
        raise contraction.error(f"U_matrix_{order}", f"shape {theirs.shape} does not fit")
    theirs = _symmetrized(theirs, axes, order).reshape(len(ours), -1)
    change = np.linalg.lstsq(ours, theirs, rcond=None)[0]
    if np.abs(ours @ change - theirs).max() > 1e-5 * np.abs(theirs).max():
        raise contraction.error(f"U_matrix_{order}", "couples other irreps: not supported")
    return change


def _symmetrized(table: np.ndarray, first: int, order: int) -> np.ndarray:
    """The mean over all orders of the axes first to first + order."""
    before, after = tuple(range(first)), tuple(range(first + order, table.ndim))
    every = list(permutations(range(first, first + order)))
    return sum(table.transpose(*before, *one, *after) for one in every) / len(every)
