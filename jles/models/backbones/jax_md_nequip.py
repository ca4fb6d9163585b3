"""The NequIP of jax-md (Batzner et al., Nat. Commun. 13, 2453 (2022)) as a foreign model."""

from jles.errors import InputError
from jles.models.backbones.features import Features
from jles.models.backbones.foreign_model import ForeignModel
from jles.models.backbones.irreps import to_tensors, to_vectors


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
    import e3nn_jax as e3nn
    import jax
    import jax.numpy as jnp
    from jax_md.nn import nequip
    from jraph import GraphsTuple

    settings = nequip.default_config()
    own = {"r_max": cutoff, "n_elements": len(elements)}
    for name in options:
        if name in own:
            raise InputError(
                f"options: '{name}' follows from the cutoff and the elements; take it out"
            )
        if name not in {*settings.keys(), "shift", "scale"}:
            known = ", ".join(sorted({*settings.keys(), "shift", "scale"} - set(own)))
            raise InputError(f"options: unknown '{name}'; known: {known}")
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
        hidden = e3nn.concatenate(list(states.values()))

        def of(irrep):
            chosen = hidden.filter(irrep).array.reshape(energies.shape[0], -1, irrep.dim)
            return jnp.swapaxes(chosen, 1, 2)

        invariants, *rest = (of(e3nn.Irrep(name)) for name in ("0e", "1o", "2e"))
        vectors, tensors = (part if part.shape[2] else None for part in rest)
        return Features(
            invariants[:, 0],
            None if vectors is None else to_vectors(vectors),
            None if tensors is None else to_tensors(tensors),
            energies,
        )

    return ForeignModel(function, init)
