"""Shared by the adapters of packages with e3nn-jax: checks of options, reading of irreps."""

from collections.abc import Collection, Sequence

from jles.errors import InputError
from jles.models.backbones.features import Features
from jles.models.backbones.irreps import to_tensors, to_vectors


def check_options(
    options: Collection[str], known: Collection[str], own: Collection[str]
) -> None:
    """Refuses options that do not exist, or that the model file states elsewhere.

    Args:
        options: those that are given.
        known: those that the package has.
        own: those that follow from the cutoff and the elements.

    Raises:
        InputError: names the first of them.
    """
    for name in options:
        if name in own:
            raise InputError(
                f"options: '{name}' follows from the cutoff and the elements; take it out"
            )
        if name not in known:
            offered = ", ".join(sorted(set(known) - set(own)))
            raise InputError(f"options: unknown '{name}'; known: {offered}")


def features_of_irreps(layers: Sequence, energies) -> Features:
    """Features of natural parity: 0e as invariants, 1o as vectors, 2e as tensors.

    Args:
        layers: hidden features of every layer, `e3nn_jax.IrrepsArray` (atoms, components).
        energies: of the atoms, eV.
    """
    import e3nn_jax as e3nn
    import jax.numpy as jnp

    hidden = e3nn.concatenate(list(layers))

    def of(name):
        irrep = e3nn.Irrep(name)
        chosen = hidden.filter(irrep).array.reshape(energies.shape[0], -1, irrep.dim)
        return jnp.swapaxes(chosen, 1, 2)

    invariants, *rest = map(of, ("0e", "1o", "2e"))
    vectors, tensors = (part if part.shape[2] else None for part in rest)
    return Features(
        invariants[:, 0],
        None if vectors is None else to_vectors(vectors),
        None if tensors is None else to_tensors(tensors),
        energies,
    )
