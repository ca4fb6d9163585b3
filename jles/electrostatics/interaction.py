"""The electrostatic energy as a quadratic form of the moments, for every kind of sum.

Its gradient with respect to the moments is the symmetric operator K of docs/theory.md: the
potential, minus the field, half the field gradient. Models and `lattice_sum` both use it.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jles.electrostatics.multipoles import Multipoles, background_energy, self_energy
from jles.electrostatics.plan import SumPlan
from jles.electrostatics.sums.cluster import cluster_energy
from jles.electrostatics.sums.ewald import prepare_ewald, reciprocal_energy
from jles.electrostatics.sums.mesh import mesh_energy, prepare_mesh
from jles.electrostatics.sums.slab import slab_cell, slab_correction
from jles.errors import InputError
from jles.typing import AtomMask, Cell, Positions, Scalar

Interaction = Callable[[Multipoles], Float[Array, ""]]
"""Energy (eV) of moments at fixed positions."""


class Boundary(NamedTuple):
    """Periodicity of one structure as values that may be traced, so that a batch can mix kinds.

    Attributes:
        periodic: True for a crystal or slab, False for a cluster.
        open_axis: lattice vector of a slab that is not periodic; -1 for crystals and clusters.
        slab_height: height of the cell a slab is summed in, angstrom; not used otherwise.
    """

    periodic: bool | Bool[Array, ""]
    open_axis: int | Int[Array, ""] = -1
    slab_height: Scalar = 1.0


def boundary_of(plan: SumPlan) -> Boundary:
    """The boundary that the plan of a single structure implies."""
    if plan.slab is None:
        return Boundary(plan.periodic)
    return Boundary(True, *plan.slab)


def build_interaction(
    positions: Positions,
    cell: Cell | None,
    plan: SumPlan,
    *,
    sigma: Scalar,
    k_max: Scalar,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    remove_self: bool = True,
    self_terms: int = 1,
    background: Literal["smeared", "point"] = "smeared",
    pair_offset: float = 0.0,
    boundary: Boundary | None = None,
    mask: AtomMask | None = None,
) -> Interaction:
    """The energy (eV) as a function of the moments alone; tables are computed once, here.

    Args:
        positions: angstrom.
        cell: rows are lattice vectors, angstrom; None for clusters.
        plan: static, see `plan_sum`.
        sigma: smearing width, angstrom.
        k_max: cutoff of the reciprocal sum, 1/angstrom.
        cutoff: see `ewald_energy`.
        remove_self: leave out the energy of every multipole with itself.
        self_terms: of crystals, how many times it is left out then: once, or more often as in
            some published models.
        background: of a charged crystal, see `multipoles.background_energy`.
        pair_offset: of clusters, see `cluster_energy`.
        boundary: which of the planned sums this structure takes; by default the plan of a
            single structure says so. Required with the plan of a batch that mixes kinds.
        mask: False on padding; it finds the middle of a slab.

    Raises:
        InputError: the plan is empty.
    """
    if not plan.periodic and not plan.cluster:
        raise InputError(
            "the structure was built without a long-range plan; give build_structure a k_max"
        )
    boundary = boundary_of(plan) if boundary is None else boundary
    lattice = None
    if plan.periodic:
        lattice = _lattice_energy(
            positions,
            cell,
            plan,
            boundary,
            background,
            mask,
            sigma=sigma,
            k_max=k_max,
            cutoff=cutoff,
        )

    def periodic(moments: Multipoles) -> Array:
        energy = lattice(moments)
        if not remove_self:
            return energy
        own = self_energy(moments, sigma)
        return energy - (own if self_terms == 1 else self_terms * own)

    def cluster(moments: Multipoles) -> Array:
        return cluster_energy(
            moments, positions, sigma=sigma, remove_self=remove_self, pair_offset=pair_offset
        )

    def selected(moments: Multipoles) -> Array:
        return jnp.where(boundary.periodic, periodic(moments), cluster(moments))

    if lattice is None:
        return cluster
    return selected if plan.cluster else periodic


def _lattice_energy(positions, cell, plan, boundary, background, mask, *, sigma, **options):
    """Energy of a crystal or slab, self-interaction included."""
    is_slab = False
    if plan.slab is not None:
        is_slab = jnp.asarray(boundary.open_axis) >= 0
        upright = slab_cell(cell, boundary.open_axis, boundary.slab_height)
        cell = jnp.where(is_slab, upright, cell)
    reciprocal = reciprocal_form(positions, cell, plan, sigma=sigma, **options)

    def energy(moments: Multipoles) -> Array:
        total = reciprocal(moments)
        if plan.slab is not None:
            axis = boundary.open_axis
            correction = slab_correction(moments, positions, cell, axis, sigma, mask)
            total += jnp.where(is_slab, correction, 0.0)
        if background == "point":
            volume = jnp.abs(jnp.linalg.det(cell))
            uniform = background_energy(jnp.sum(moments.charges, axis=0), volume, sigma)
            total -= jnp.where(is_slab, 0.0, uniform)
        return total

    return energy


def reciprocal_form(
    positions: Positions,
    cell: Cell,
    plan: SumPlan,
    *,
    sigma: Scalar,
    k_max: Scalar,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    slope: bool = False,
) -> Interaction:
    """The reciprocal sum of a plan, direct or on the mesh; self-interaction is included.

    Args:
        positions: angstrom.
        cell: the cell to sum in, rows are lattice vectors, angstrom.
        plan: static.
        sigma: smearing width, angstrom.
        k_max: cutoff, 1/angstrom.
        cutoff: see `ewald_energy`.
        slope: replace the Green function by its derivative with respect to k^2.
    """
    options = {"sigma": sigma, "k_max": k_max, "cutoff": cutoff, "slope": slope}
    if plan.mesh is not None:
        mesh = prepare_mesh(positions, cell, plan=plan.mesh, **options)
        return lambda moments: mesh_energy(mesh, moments, plan.mesh)
    ewald = prepare_ewald(positions, cell, grid=plan.grid, **options)
    return lambda moments: reciprocal_energy(ewald, moments)
