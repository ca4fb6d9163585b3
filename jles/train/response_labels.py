"""Labels of the electrical response: the branch of a dipole, and what cannot be trained on."""

from collections.abc import Collection, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.data.frames import Frame, Outline
from jles.data.loader import RESPONSES
from jles.errors import ConfigError, InputError
from jles.models.config import ModelConfig
from jles.products import matmul
from jles.quantities.catalogue import trained_labels
from jles.quantities.refusals import is_metallic
from jles.structures.structure import Structure


def nearest_branch(difference: Float[Array, " 3"], structure: Structure) -> Float[Array, " 3"]:
    r"""The difference of two dipoles (e angstrom) modulo the quantum; unchanged for a cluster.

    .. math:: d - \sum_a \mathrm{round}(c_a)\, e\, a_a, \quad d = \sum_a c_a\, e\, a_a

    over the periodic directions, rows :math:`a_a` of the cell: polarizations of a crystal that
    differ by a quantum are equal. The integers have no derivative. A model's value is on the
    branch of the wrapped positions, and an atom that crosses the cell boundary changes it
    by its charge times a lattice vector. For charges that are not whole numbers a label
    therefore agrees with it only if its atoms are wrapped in the same way.

    Source: King-Smith and Vanderbilt, Phys. Rev. B 47, 1651 (1993).
    """
    reduced = matmul(lax.stop_gradient(difference), jnp.linalg.inv(structure.cell))
    repeats = structure.periodic & (jnp.arange(3) != structure.open_axis)
    turns = jnp.where(repeats, jnp.round(reduced), 0.0)
    return difference - matmul(turns, structure.cell)


def check_responses(
    needed: Collection[str], model: ModelConfig, frames: Sequence[Frame | Outline]
) -> None:
    """Refuses weights of labels that the model, or one of the frames, has no prediction for.

    Raises:
        InputError: names the weight and the head that is missing, or the frame, also one whose
            cell needs another configuration of the backbone.
    """
    for name, quantity in trained_labels().items():
        if name not in needed or name not in RESPONSES:
            continue
        remedy = f"or set loss.{name} to 0"
        reason = quantity.refuse(model)
        if reason:
            raise ConfigError(f"loss.{name} has a weight, but {reason}; add it, {remedy}")
        for frame in frames:
            reason = quantity.refuse(model, frame.pbc)
            # Without a label all but the polarizability are computed and must be finite, too.
            if reason and (name in frame.labels or quantity.polar or is_metallic(model)):
                raise InputError(f"{frame.source}: {reason}; take the frame out, {remedy}")
            try:
                model.backbone.check_cell(frame.cell, frame.pbc)
            except InputError as error:
                raise InputError(f"{frame.source}: {error}") from None
