"""MACE, NequIP and ViSNet of the package mlip as foreign models."""

from functools import partial

import numpy as np

from jles.errors import InputError
from jles.models.backbones.features import Features
from jles.models.backbones.foreign_adapters import check_options, features_of_irreps
from jles.models.backbones.foreign_model import ForeignModel
from jles.models.backbones.irreps import part, to_tensors, to_vectors

_OF_DATA = {"avg_num_neighbors", "avg_r_min_angstrom", "scaling_mean", "scaling_stdev"}
_HAS_OWN = {"predict_partial_charges", "use_coulomb_term", "use_total_charge_embedding"}


def mlip_model(
    network: str, cutoff: float, elements: tuple[str, ...], **options
) -> ForeignModel:
    """A network of mlip; its features are those of every atom after every layer.

    Of irreps, those of natural parity are read: 0e as invariants, 1o as vectors, 2e as tensors.

    Args:
        network: "mace", "nequip" or "visnet".
        cutoff: angstrom.
        elements: chemical symbols.
        options: of the network's `Config`, e.g. `mlip.models.Mace.Config`; also those of the
            data set (`mlip.data.DatasetInfo`) that scale a model: `avg_num_neighbors`,
            `avg_r_min_angstrom`, `scaling_mean`, `scaling_stdev`.

    Raises:
        InputError: mlip is not installed; an option that does not exist, or that follows from
            cutoff and elements, or charges of mlip beside those of this project.
    """
    try:
        import mlip.models as models
        from mlip.data import DatasetInfo
    except ImportError as error:
        raise InputError(
            f"backbone.name: 'mlip-{network}' needs the package mlip ({error}); install "
            "jles[mlip]"
        ) from None
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    from ase.data import atomic_numbers
    from mlip.models.blocks import MaskPaddedNodeOutputsBlock

    kind = {"mace": models.Mace, "nequip": models.Nequip, "visnet": models.Visnet}[network]
    for name in sorted(_HAS_OWN & options.keys()):
        raise InputError(
            f"options: '{name}' is mlip's own model of charges; take it out, charges are set "
            "in the model file"
        )
    own = {"atomic_energies_map", "graph_cutoff_angstrom", "add_atomic_energies", "num_species"}
    known = {*kind.Config.model_fields, *_OF_DATA} - _HAS_OWN
    check_options(options, known, own)
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])
    of_data = {name: options[name] for name in sorted(_OF_DATA & options.keys())}
    data = DatasetInfo(
        atomic_energies_map={int(number): 0.0 for number in numbers},
        graph_cutoff_angstrom=cutoff,
        **of_data,
    )
    of_network = {name: value for name, value in options.items() if name not in of_data}
    model = kind(kind.Config(add_atomic_energies=False, **of_network), data)
    graph, layer = _graph_builder(numbers), _layer_of(network)

    def unmasked(next_function, arguments, keywords, context):
        """All atoms are real, so that results are not masked."""
        if isinstance(context.module, MaskPaddedNodeOutputsBlock):
            return arguments[0]
        return next_function(*arguments, **keywords)

    def init(key):
        one = jnp.ones((1, 3)), *jnp.zeros((3, 1), int)
        with nn.intercept_methods(unmasked), _without_kernels():
            return jax.jit(model.init)(key, graph(*one))

    def function(params, *arguments):
        with nn.intercept_methods(unmasked), _without_kernels():
            result, state = model.apply(
                params,
                graph(*arguments),
                capture_intermediates=lambda module, _: isinstance(module, layer),
                mutable=["intermediates"],
            )
        layers = [one["__call__"][0] for one in state["intermediates"].values()]
        hidden = [one.nodes.features for one in layers]
        energies = result.nodes.features["energy"]
        if network == "visnet":
            return _cartesian(hidden, energies)
        return features_of_irreps([one["latent"] for one in hidden], energies)

    return ForeignModel(function, init)


MLIP_MODELS = {
    f"mlip-{network}": partial(mlip_model, network) for network in ("mace", "nequip", "visnet")
}
"""Factories by the names under which they are registered."""


def _without_kernels():
    """A context in which mlip uses no fused kernels, which expect edges in another order."""
    from e3j.utils import config
    from e3j.utils.options import Convolution, TensorProduct

    return config.use(convolution=Convolution.UNFUSED, tensor_product=TensorProduct.UNFUSED)


def _layer_of(network: str) -> type:
    """The module of one layer."""
    if network == "mace":
        from mlip.models.mace.layer import MaceLayer as Layer
    elif network == "nequip":
        from mlip.models.nequip.layer import NequipLayer as Layer
    else:
        from mlip.models.visnet.layer import VisnetLayer as Layer
    return Layer


def _graph_builder(numbers):
    """`(vectors, species, senders, receivers) -> mlip.graph.Graph`.

    Args:
        numbers: atomic numbers of the elements.
    """
    import jax
    import jax.numpy as jnp
    from flax import struct
    from mlip.graph import Graph
    from mlip.graph.edge_ordering import DEFAULT_EDGE_ORDERING
    from mlip.graph.graph import GraphEdges, GraphGlobals, GraphNodes

    @struct.dataclass
    class Whole(Graph):
        """A graph without padding: a mask would change the senders, which are followed."""

        def node_mask(self):
            return None

    def graph(vectors, species, senders, receivers):
        atoms, edges = species.shape[0], vectors.shape[0]
        # Vectors of mlip point from senders to receivers.
        given = jax.tree_util.Partial(lambda vectors, *_: vectors, -vectors)
        return Whole(
            GraphNodes(jnp.asarray(numbers)[species], jnp.zeros((atoms, 3), vectors.dtype)),
            GraphEdges(displ_fun=given),
            GraphGlobals(cell=None, weight=None),
            *(jnp.reshape(jnp.asarray(count), 1) for count in (atoms, edges)),
            senders,
            receivers,
            # Only fused kernels need edges in this order.
            ordering=DEFAULT_EDGE_ORDERING,
        )

    return graph


def _cartesian(layers: list[dict], energies) -> Features:
    """Features of ViSNet, which has components of all degrees from one on in one array."""
    import jax.numpy as jnp

    def of_degree(l, convert):
        found = [
            one["latent_vectors"][:, part(l).start - 1 : part(l).stop - 1] for one in layers
        ]
        whole = found[0].shape[1] == 2 * l + 1
        return convert(jnp.concatenate(found, axis=2)) if whole else None

    invariants = jnp.concatenate([one["latent_scalars"] for one in layers], axis=1)
    return Features(invariants, of_degree(1, to_vectors), of_degree(2, to_tensors), energies)
