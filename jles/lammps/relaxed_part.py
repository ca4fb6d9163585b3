r"""Self-consistent induced moments of atoms on several ranks.

With the response R and the interaction K of all moments, :math:`(1 + K R)\,w = f` gives the
induced moments R w (`jles.electrostatics.response.relax`). Every rank holds w at its own atoms.
K R w needs the structure factor of R w of all ranks: one sum over ranks in a step of conjugate
gradients, and two more of single numbers.

The energy is stationary in w:

.. math:: E = \sum_r E_r + E_k(S) + \tfrac12 w\cdot R w, \quad S = \sum_r S_r(m + R w)

so its derivatives are those at fixed w, as if the moments were permanent (`relaxed_part`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.domains.rank_sums import RankSums, energy_of_rank_sums, rank_sums, without_self
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.response.induction import (
    MAX_STEPS,
    Induced,
    LocalField,
    apply_response,
    dot,
    effective_multipoles,
)
from jles.errors import InputError
from jles.lammps.charge_sum import ChargeSum, constrained
from jles.lammps.induced_part import field_at, induced_moments
from jles.lammps.network_pass import Own
from jles.lammps.own_part import OwnPart, part_of
from jles.lammps.ranks import Ranks
from jles.models.config import ElectrostaticsConfig
from jles.typing import Cell


class Relaxation:
    """Solves for w; the functions of a rank are compiled once for each plan."""

    def __init__(self):
        self._source = jax.jit(_source, static_argnums=(3, 4))
        self._respond = jax.jit(_respond, static_argnums=(3, 4))
        self._image = jax.jit(_image, static_argnums=(4, 5))
        self._advance = jax.jit(_advance)

    def __call__(
        self,
        own: Own,
        sums: RankSums,
        cell: Cell,
        plan: SumPlan,
        config: ElectrostaticsConfig,
        field: Float[Array, " 3"] | None,
        ranks: Ranks,
    ) -> LocalField:
        """The solution w at the atoms of this rank; called by all ranks.

        Args:
            own: output of the network of this rank, with charges whose sum is constrained.
            sums: S of the permanent moments of all ranks.
            cell: rows are lattice vectors, angstrom.
            plan: of the sum.
            config: of the sum.
            field: applied, latent, V/angstrom; None for none.
            ranks: sums over them.

        Raises:
            InputError: the solve does not converge; on every rank.
        """
        how = plan, config

        def image(vector):
            return self._image(
                own, vector, ranks.sums(self._respond(own, vector, cell, *how)), cell, *how
            )

        source, norm = self._source(own, sums, cell, *how, field)
        goal = (1e-6 if cell.dtype == jnp.float32 else 1e-11) ** 2 * ranks.number(norm)
        w = jax.tree.map(jnp.zeros_like, source)
        r = p = source
        residual = ranks.number(norm)
        for _ in range(MAX_STEPS):
            if residual <= goal:
                # Where R is zero the equation itself sets w.
                moved, _ = image(w)
                return jax.tree.map(lambda f, x, y: f - (y - x), source, w, moved)
            moved, curvature = image(p)
            curvature = ranks.number(curvature)
            if not curvature > 0.0:
                break
            w, r, smaller = self._advance(own, w, r, p, moved, residual / curvature)
            smaller = ranks.number(smaller)
            p = jax.tree.map(lambda a, b, factor=smaller / residual: a + factor * b, r, p)
            residual = smaller
        raise InputError(
            "the self-consistent response did not converge; polarizabilities or softness are "
            "too large for moments this close"
        )


def _source(own, sums, cell, plan, config, field):
    """f, and the part of this rank in f . R f."""
    slope = jax.grad(energy_of_rank_sums)(sums, cell, plan, config)
    source = field_at(own, own.moments, slope, cell, plan, config, field)
    return source, dot(source, apply_response(own.response, source))


def _respond(own, vector, cell, plan, config):
    """The structure factor of R v."""
    moments = induced_moments(own, apply_response(own.response, vector))
    return rank_sums(moments, own.places, cell, plan, config)


def _image(own, vector, sums, cell, plan, config):
    """(1 + K R) v, and the part of this rank in R v . (1 + K R) v."""
    response = apply_response(own.response, vector)
    slope = jax.grad(energy_of_rank_sums)(sums, cell, plan, config)
    local = field_at(own, induced_moments(own, response), slope, cell, plan, config, None)
    image = jax.tree.map(jnp.subtract, vector, local)
    return image, dot(response, image)


def _advance(own, w, r, p, image, length):
    """A step of length `length` along p; the part of this rank in r . R r."""
    w = jax.tree.map(lambda a, b: a + length * b, w, p)
    r = jax.tree.map(lambda a, b: a - length * b, r, image)
    return w, r, dot(r, apply_response(own.response, r))


def relaxed_part(
    own: Own,
    total: ChargeSum | None,
    cell: Cell,
    w: LocalField,
    plan: SumPlan,
    config: ElectrostaticsConfig,
    field: Float[Array, " 3"] | None = None,
) -> OwnPart:
    """The part of one rank at fixed w; traced, other arguments as of `own_part`.

    Args:
        own: output of the network of this rank.
        total: sum of the charges of all ranks; None where it is free.
        cell: rows are lattice vectors, angstrom.
        w: from `Relaxation`.
        plan: static, of the sum.
        config: of the sum, static.
        field: applied, latent, V/angstrom; None for none.
    """

    def energy_of(own, total):
        own = constrained(own, total)
        induced = apply_response(own.response, w)
        energy = jnp.sum(own.short_range) + 0.5 * dot(w, induced)
        moments = effective_multipoles(own.moments, Induced(energy, *induced, None))
        if field is not None and induced.dipoles is not None:
            energy -= jnp.sum(induced.dipoles * field)
        return without_self(energy, moments, config), moments

    return part_of(energy_of, own, total, cell, plan, config)
