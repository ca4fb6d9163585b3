"""The NequIP of jax-md (Batzner et al., Nat. Commun. 13, 2453 (2022)) as a foreign model."""

from jles.models.backbones.foreign_adapters import check_options, features_of_irreps
from jles.models.backbones.foreign_model import ForeignModel


def jax_md_nequip(cutoff: float, elements: tuple[str, ...], **options) -> ForeignModel:
    """NequIP as jax-md has it; its hidden features after every convolution are the features.

    Irreps of natural parity are read: 0e as invariants, 1o as vectors, 2e as tensors. Take
    `sh_irreps` such as "1x0e + 1x1o + 1x2e".

    Args:
        cutoff: angstrom.
        elements: chemical symbols.
        options: of `jax_md.nn.nequip.default_config`, except `r_max` and `n_elements`.

    Raises:
        InputError: an option that does not exist, or that follows from cutoff and elements.
    """
    import jax
    import jax.numpy as jnp
    from jax_md.nn import nequip
    from jraph import GraphsTuple

    settings = nequip.default_config()
    own = {"r_max": cutoff, "n_elements": len(elements)}
    check_options(options, {*settings.keys(), "shift", "scale"}, own)
    settings.update({"shift": 0.0, "scale": 1.0} | options | own)
    model = nequip.model_from_config(settings)

    def graph(vectors, species, senders, receivers):
        nodes = jax.nn.one_hot(species, len(elements), dtype=vectors.dtype)
        # Sizes may be symbols, as in an exported program, which `len` refuses.
        counts = (jnp.reshape(jnp.asarray(part.shape[0]), 1) for part in (nodes, vectors))
        # Vectors of jax-md point from senders to receivers.
        return GraphsTuple(nodes, -vectors, receivers, senders, None, *counts)

    def init(key):
        one = jnp.ones((1, 3)), *jnp.zeros((3, 1), int)
        return model.init(key, graph(*one))

    def function(params, *arguments):
        def kept(module, _):
            return isinstance(module, nequip.NequIPConvolution) or module.name == "Linear_2"

        of_graph = graph(*arguments)
        state = model.apply(params, of_graph, capture_intermediates=kept, mutable=True)[1]
        states = {name: one["__call__"][0] for name, one in state["intermediates"].items()}
        energies = states.pop("Linear_2").array[:, 0]
        return features_of_irreps(list(states.values()), energies)

    return ForeignModel(function, init)
