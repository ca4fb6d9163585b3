"""High-level entry point: arrays in; energy, potential, field and induced moments out.

It checks and plans on the host, then calls the pure functions of the other modules.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from jles.electrostatics import checks
from jles.electrostatics.energy_parts import energy_parts
from jles.electrostatics.interaction import build_interaction
from jles.electrostatics.multipoles import Multipoles, with_dipoles
from jles.electrostatics.plan import SumPlan, open_axes, plan_sum
from jles.electrostatics.response.applied_field import enthalpy
from jles.electrostatics.response.induction import MAX_STEPS, Response, SolveReport
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.slab import open_middle, slab_cell_on_host
from jles.errors import InputError
from jles.lattice import reduction
from jles.meshes import any_mesh, leading_spec
from jles.products import matmul


class LatticeSum(NamedTuple):
    """Results of `lattice_sum`; with channels, their axis follows that of the atoms.

    Attributes:
        energy: eV; in a field the enthalpy.
        potential: of the effective moments at the atoms, V.
        field: minus its gradient, V/angstrom; the applied field is not in it.
        effective: permanent plus induced moments.
        polarization: of the effective moments, e angstrom.
        parts: energies by name; None unless requested.
        report: of the self-consistent solve; None without one.
    """

    energy: Float[Array, ""]
    potential: Float[Array, " atoms"] | Float[Array, "atoms channels"]
    field: Float[Array, "atoms 3"] | Float[Array, "atoms channels 3"]
    effective: Multipoles
    polarization: Float[Array, " 3"]
    parts: dict[str, Float[Array, ""]] | None = None
    report: SolveReport | None = None


_STATIC = ("plan", "cutoff", "remove_self", "background", "parts", "tolerance", "max_steps")


def _sharded_as_atoms(moments, places, *_, **__):
    """Shardings of a `LatticeSum`: what belongs to atoms is sharded as they are."""
    whole, atoms = PartitionSpec(), leading_spec(places)
    return LatticeSum(whole, atoms, atoms, atoms, whole, whole, whole)


@partial(jax.jit, static_argnames=_STATIC)
@any_mesh(_sharded_as_atoms)
def _evaluate(
    moments, places, positions, cell, sigma, k_max, response, field, *, plan, parts,
    tolerance, max_steps, **options,
):  # fmt: skip
    """Sums at `places`, which are wrapped; the polarization is that of `positions`."""
    interaction = build_interaction(places, cell, plan, sigma=sigma, k_max=k_max, **options)
    total = enthalpy(
        interaction,
        moments,
        positions,
        response,
        field,
        periodic=plan.periodic,
        tolerance=tolerance,
        max_steps=max_steps,
    )
    slope = jax.grad(interaction)(with_dipoles(total.effective))
    return LatticeSum(
        total.energy,
        slope.charges,
        -slope.dipoles,
        total.effective,
        total.polarization,
        energy_parts(interaction, moments, total.induced) if parts else None,
        total.induced.report if total.induced is not None else None,
    )


def _wrapped_on_host(positions, cell, host_positions, host_cell, axes):
    """Positions wrapped into the cell in float64, then rounded to the working precision.

    Values come from the host. Derivatives are those of r - n cell with constant integers n.
    Nothing is wrapped along open `axes`.
    """
    cells_away = np.round(host_positions @ np.linalg.inv(host_cell))
    cells_away[:, axes] = 0.0
    value = jnp.asarray(host_positions - cells_away @ host_cell, positions.dtype)
    images = jnp.asarray(cells_away, positions.dtype)
    moved = positions - lax.stop_gradient(positions)
    strained = cell - lax.stop_gradient(cell)
    return value + moved - matmul(images, strained)


def _compact(cell, host_cell, axes):
    """The cell with short vectors of the same lattice, if it is skewed, and its value.

    The value comes from the host; derivatives with respect to `cell` pass through.
    """
    turn = reduction(host_cell, [axis not in axes for axis in range(3)])
    if np.array_equal(turn, np.eye(3)):
        return cell, host_cell
    host_cell = turn @ host_cell
    if isinstance(cell, np.ndarray):
        return host_cell.astype(cell.dtype), host_cell
    moved = matmul(jnp.asarray(turn, cell.dtype), cell - lax.stop_gradient(cell))
    return jnp.asarray(host_cell, cell.dtype) + moved, host_cell


def lattice_sum(
    multipoles: Multipoles,
    positions,
    cell=None,
    *,
    pbc=True,
    sigma=1.0,
    k_max=3.14159,
    cutoff: str = "sharp",
    method: str = "ewald",
    accuracy: float = 1e-5,
    remove_self: bool = True,
    background: str = "smeared",
    response: Response | None = None,
    field=None,
    parts: bool = False,
    plan: SumPlan | KGrid | None = None,
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
) -> LatticeSum:
    r"""Energy of smeared multipoles, their potential and field, and their response.

    A crystal (`pbc` all true) is summed in reciprocal space, by `ewald_energy` or `pme_energy`.
    Skewed cells are reduced first, see `reduction`, unless a plan is given. A slab (two true)
    is summed in the same way, with `slab_correction`. A cluster (none true) is summed over
    pairs, by `cluster_energy`. Potential and field are derivatives of the energy with respect
    to the moments.

    The result can be differentiated to any order with respect to positions, cell and every
    moment. Under `jit` or `vmap` the cell is traced and the sum cannot be planned: make
    `plan = plan_sum(cell, positions, pbc, k_max=k_max)` outside and pass it.

    Args:
        multipoles: `charges` (atoms,) or (atoms, channels), e; `dipoles` (atoms, [channels,]
            3); `quadrupoles` (atoms, [channels,] 3, 3).
        positions: (atoms, 3), angstrom; need not be wrapped.
        cell: (3, 3), rows are lattice vectors, angstrom; may be None for a cluster; of a slab
            the vector that is not periodic is not used.
        pbc: True, False or three booleans, of which one alone may not be true.
        sigma: smearing width, angstrom.
        k_max: cutoff of the reciprocal sum, 1/angstrom.
        cutoff: "sharp" sphere or "smooth", see `ewald_energy`.
        method: "ewald" (also "direct"), the direct sum; "pme" (also "mesh"), the particle mesh;
            or "auto", the cheaper of the two by measured cost. A given `plan` decides itself.
        accuracy: relative error of the forces of the particle mesh, see `plan_mesh`.
        remove_self: leave out the energy of each smeared multipole with itself.
        background: of a charged crystal: "smeared", or "point", the conventional uniform
            background of point charges, which subtracts `background_energy`.
        response: how charges and dipoles respond, see `Response`.
        field: applied, (3,), V/angstrom; the energy is then the enthalpy of `enthalpy`.
        parts: whether to split the energy by moments, see `energy_parts`; without a field the
            parts add up to the energy.
        plan: static, for traced cells or to share compilations among similar cells.
        tolerance: of the self-consistent solve, see `response.relax`.
        max_steps: of the self-consistent solve.

    Returns:
        LatticeSum: in the dtype of charges and positions.

    Raises:
        InputError: an argument is wrong, or the self-consistent solve does not converge.
    """
    checks.check_options(sigma, k_max, cutoff, background, method, accuracy)
    axes = open_axes(pbc)
    moments, positions = checks.moments_and_positions(multipoles, positions)
    response = checks.checked_response(response, moments)
    field = checks.field_array(field)
    plan = checks.checked_plan(plan, method)
    host_cell, host_positions = None, checks.concrete(positions)
    if len(axes) < 3:
        cell = checks.cell_array(cell)
        host_cell = checks.concrete(cell)
        if host_cell is not None and plan is None:
            cell, host_cell = _compact(cell, host_cell, axes)
        if host_cell is not None:
            checks.check_cell(host_cell, axes, sigma)
        if plan is None:
            known = host_cell, checks.concrete(k_max), checks.concrete(sigma)
            if any(value is None for value in known) or (axes and host_positions is None):
                raise checks.traced_cell_error()
            plan = plan_sum(
                host_cell,
                host_positions if host_positions is not None else np.zeros(positions.shape),
                pbc,
                k_max=float(checks.concrete(k_max)),
                sigma=float(checks.concrete(sigma)),
                method=method,
                accuracy=accuracy,
                rank=checks.summed_rank(moments, response),
            )
        else:
            checks.check_plan_kind(plan, axes)
            if host_cell is not None:
                checks.check_plan(plan, host_cell, host_positions, k_max, sigma)
    else:
        cell, plan = np.eye(3), SumPlan(cluster=True)
    dtype = jnp.result_type(positions, *jax.tree.leaves(moments))
    moments, positions, cell, response, field, sigma, k_max = jax.tree.map(
        lambda array: jnp.asarray(array, dtype),
        (moments, positions, cell, response, field, sigma, k_max),
    )
    has_middle = axes and (len(axes) == 3 or host_cell is not None)
    if has_middle and host_positions is not None:
        host_positions = host_positions - open_middle(host_positions, host_cell, axes)
        moved = positions - lax.stop_gradient(positions)
        positions = jnp.asarray(host_positions, dtype) + moved
    places = positions
    if host_cell is not None and host_positions is not None:
        if axes:
            host_cell = slab_cell_on_host(host_cell, *plan.slab)
        places = _wrapped_on_host(positions, cell, host_positions, host_cell, axes)
    result = _evaluate(
        moments,
        places,
        positions,
        cell,
        sigma,
        k_max,
        response,
        field,
        plan=plan,
        cutoff=cutoff,
        remove_self=remove_self,
        background=background,
        parts=parts,
        tolerance=tolerance,
        max_steps=max_steps,
    )
    _check_report(result.report, max_steps)
    return result


def _check_report(report: SolveReport | None, max_steps: int) -> None:
    """Refuses a solve that did not converge; a traced one gives NaN instead."""
    if report is None or checks.concrete(report.residual) is None:
        return
    if not bool(report.converged):
        raise InputError(
            f"the self-consistent response did not converge: relative residual "
            f"{float(report.residual):.2g} after {int(report.steps)} of at most {max_steps} "
            "steps; polarizabilities or softness are too large for moments this close (lower "
            "them, widen sigma), or allow more max_steps or a larger tolerance; in a slab, "
            "charge softness needs conserve_charge"
        )
