r"""E . P of the charges of a crystal, with exact (k -> 0) derivatives (docs/theory.md)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.bloch.tangents import instantiate, is_zero
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.applied_field import from_centre, polarization
from jles.electrostatics.sums.slab import slab_normal
from jles.structures.structure import Structure
from jles.typing import Charges


def crystal_coupling(
    charges_fn: Callable[..., Charges], to_second_order: bool = True
) -> Callable[[Float[Array, " 3"], dict, Structure], Array]:
    r"""The function E . P of the charges of a crystal, with exact derivatives.

    The value is :math:`E\cdot\sum_i (q_i - \langle q\rangle) r_i` on the branch of the
    positions as they are given. Its derivative with respect to positions is that of the
    infinite crystal,

    .. math:: \frac{\partial P_a}{\partial r_{ib}} = q_i \delta_{ab}
        + \sum_j (r_j - r_i)_a \frac{\partial q_j}{\partial r_{ib}},

    with j over all images and true vectors. The value misses charge that crosses the boundary
    of the cell; this derivative includes it. Along the open direction of a slab there is no
    boundary, and the derivative is that of the value. Strain moves the branch with the cell,
    and adds

    .. math:: e_{a,bc} = -\tfrac12(M_{ac,b} + M_{ab,c} - M_{bc,a}), \quad
        M_{ac,b} = \sum_{ij} (r_j - r_i)_a (r_j - r_i)_c \frac{\partial q_j}{\partial r_{ib}}

    Higher derivatives are exact too. Derivatives with respect to parameters are those of the
    value. Reverse mode takes one pass through the charges and one more directional derivative.

    Args:
        charges_fn: `(params, structure, bloch) -> (atoms,)`, e, zero on padding. Where `bloch`
            is given its derivatives must be Bloch-weighted, see `jles.bloch.weighted`.
        to_second_order: whether they are exact to second order in `bloch`, which derivatives
            with respect to the cell need.

    Returns:
        `(field, params, structure) -> e angstrom times the unit of field`.

    Source: docs/theory.md; of the strain Martin, Phys. Rev. B 5, 1607 (1972).
    """

    def on_branch(field, params, structure):
        charges = charges_fn(params, structure, None)
        return field @ polarization(Multipoles(charges), structure.positions, structure.mask)

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def of_arrays(tree, field, params, positions, cell, rest):
        structure = _assembled(tree, rest, positions, cell)
        return on_branch(field, params, structure)

    def rule(tree, primals, tangents):
        field, params, positions, cell, rest = primals
        field_dot, params_dot, moved, cell_dot, _ = tangents
        structure = _assembled(tree, rest, positions, cell)
        value = of_arrays(tree, *primals)
        change = jnp.zeros_like(value)
        if _varies(field_dot):
            axes = jnp.eye(3, dtype=positions.dtype)
            along = [of_arrays(tree, axis, *primals[1:]) for axis in axes]
            change += jnp.stack(along) @ field_dot
        if any(map(_varies, jax.tree.leaves(params_dot, is_leaf=is_zero))):
            params_dot = jax.tree.map(instantiate, params, params_dot, is_leaf=is_zero)

            of_params = partial(on_branch, field, structure=structure)
            change += jax.jvp(of_params, (params,), (params_dot,))[1]
        if not _varies(moved) and not _varies(cell_dot):
            return value, change

        def rate(wave, along, lift=None):
            """Rate of the total charge as atoms move along `along`, Bloch-weighted by `wave`.

            Along the open direction of a slab plain positions suffice: `lift` weights the
            charges by them.
            """
            weight = (
                1.0 if lift is None else 1.0 + from_centre(positions, structure.mask) @ lift
            )

            def total(places):
                charges = charges_fn(params, replace(structure, positions=places), wave)
                return jnp.sum(charges * weight)

            return jax.jvp(total, (positions,), (jnp.broadcast_to(along, positions.shape),))[1]

        origin, moved = jnp.zeros_like(field), instantiate(positions, moved)
        if _varies(cell_dot):
            if not to_second_order:
                raise NotImplementedError(
                    "E . P of these charges has no derivative in the cell"
                )
            strain = jnp.linalg.solve(cell, cell_dot)
            moved -= positions @ strain
            change += on_branch(strain @ field, params, structure)
            change += jnp.sum(strain * _strain_slope(rate, field))
        # The field is only the direction of the last derivative: several fields share the rest.
        charges = charges_fn(params, structure, None)
        change += charges @ (moved @ field)
        if structure.plan.slab is None:
            flow = jax.jvp(lambda wave: rate(wave, moved), (origin,), (field,))[1]
            return value, change + flow
        outward = _outward(field, structure)
        mean = jnp.sum(charges) / jnp.maximum(jnp.sum(structure.mask), 1)
        change -= mean * jnp.sum(structure.mask * (moved @ outward))
        change += jax.jvp(
            lambda wave, lift: rate(wave, moved, lift),
            (origin, origin),
            (field - outward, outward),
        )[1]
        return value, change

    of_arrays.defjvp(rule, symbolic_zeros=True)

    def coupling(field, params, structure):
        rest, tree = jax.tree.flatten(jax.lax.stop_gradient(structure))
        return of_arrays(tree, field, params, structure.positions, structure.cell, rest)

    return coupling


def _strain_slope(rate, field):
    r""":math:`\sum_a E_a e_{a,bc}` of charges, e angstrom times the unit of field, (3, 3)."""
    origin, axes = jnp.zeros_like(field), jnp.eye(3, dtype=field.dtype)

    def slope_in(wave, along):
        return jax.jvp(lambda moving: rate(moving, along), (wave,), (field,))[1]

    along_field = jax.vmap(lambda b: jax.jacfwd(slope_in)(origin, b))(axes)
    of_field = jax.jacfwd(jax.grad(rate))(origin, field)
    return -0.5 * (along_field + along_field.T - of_field)


def _outward(field, structure):
    """The part of a field along the open direction of a slab; zero in a crystal."""
    normal, _ = slab_normal(structure.cell, structure.open_axis)
    return jnp.where(structure.open_axis >= 0, (field @ normal) * normal, 0.0)


def _assembled(tree, rest, positions, cell) -> Structure:
    return replace(jax.tree.unflatten(tree, rest), positions=positions, cell=cell)


def _varies(tangent) -> bool:
    return not is_zero(tangent)
