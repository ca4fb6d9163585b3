r"""E . P of the charges of a crystal, with exact (k -> 0) derivatives (docs/theory.md)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.bloch.tangents import Varied, instantiate, is_zero
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.applied_field import from_centre, polarization
from jles.electrostatics.sums.slab import slab_normal
from jles.products import HIGHEST, einsum, matmul, vdot
from jles.structures.structure import Structure
from jles.typing import Charges

Transform = Callable[[Callable], Callable]
"""A linear operation on functions of the parameters, such as `jax.grad`."""


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

    Derivatives with respect to field and parameters are those of the value. Mixed derivatives
    do not depend on the order in which they are taken: that of :math:`\partial P/\partial
    \theta` with respect to positions is the derivative of the equation above with respect to
    :math:`\theta`. A first derivative with respect to positions costs two directional
    derivatives of the charges, in forward mode for all fields together.

    Not offered: derivatives with respect to positions or cell of the second or higher
    derivatives with respect to parameters, if both of the latter are taken in reverse mode.
    Take one of them in forward mode, or the positions first. Arrays of the structure other than
    positions and cell are constants.

    Args:
        charges_fn: `(params, structure, bloch) -> (atoms,)`, e, zero on padding. Where `bloch`
            is given its derivatives must be Bloch-weighted, see `jles.bloch.weighted`.
        to_second_order: whether they are exact to second order in `bloch`, which derivatives
            with respect to the cell need.

    Returns:
        `(field, params, structure) -> e angstrom times the unit of field`. Its derivatives
        raise NotImplementedError where they are not offered.

    Source: docs/theory.md; of the strain Martin, Phys. Rev. B 5, 1607 (1972).
    """

    def coupling(field, params, structure):
        rest, tree = jax.tree.flatten(lax.stop_gradient(structure))
        of_arrays = _exact(charges_fn, to_second_order)
        return of_arrays(tree, field, params, structure.positions, structure.cell, rest)

    return coupling


def _exact(charges_fn, to_second_order: bool, transform: Transform | None = None) -> Callable:
    """E . P with exact derivatives, or a `transform` of it as a function of the parameters.

    A derivative of E . P with respect to parameters is a `transform`, and so has this rule
    for its own derivatives. JAX drops the rule of a function whose arguments include tangents
    of a reverse-mode derivative. The first derivative with respect to parameters is therefore
    the product of a gradient, which has the rule, and the tangent. A second one would need the
    whole matrix of second derivatives: there the tangent is an argument.
    """
    transformed = (lambda function: function) if transform is None else transform

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def of_arrays(tree, field, params, positions, cell, rest):
        structure = _assembled(tree, rest, _without_rule(positions), _without_rule(cell))

        def on_branch(params):
            moments = Multipoles(charges_fn(params, structure, None))
            return vdot(field, polarization(moments, structure.positions, structure.mask))

        return transformed(on_branch)(params)

    def rule(tree, primals, tangents):
        field, params, positions, cell, rest = primals
        field_dot, params_dot, moved, cell_dot, _ = tangents
        value = of_arrays(tree, *primals)
        changes = [jax.tree.map(jnp.zeros_like, value)]
        strain = None
        if not is_zero(cell_dot):
            if not to_second_order:
                raise NotImplementedError(
                    "E . P of these charges has no derivative in the cell"
                )
            strain = jnp.linalg.solve(cell, cell_dot)
        turned = _turned(field, field_dot, strain)
        if turned is not None:
            axes = jnp.eye(3, dtype=field.dtype)
            along = jax.vmap(lambda axis: of_arrays(tree, axis, *primals[1:]))(axes)
            project = partial(jnp.tensordot, turned, axes=1, precision=HIGHEST)
            changes.append(jax.tree.map(project, along))
        if not all(map(is_zero, jax.tree.leaves(params_dot, is_leaf=is_zero))):
            varied = Varied(params, params_dot)
            if transform is None:
                gradient = _exact(charges_fn, to_second_order, varied.gradient)
                slopes = gradient(tree, *primals)
                pairs = zip(slopes, varied.tangents, strict=True)
                changes.append(sum(jnp.sum(slope * tangent) for slope, tangent in pairs))
            else:
                further = _exact(
                    charges_fn, to_second_order, lambda f: varied.derivative(transform(f))
                )
                at = params, varied.tangents
                changes.append(further(tree, field, at, positions, cell, rest))
        if not is_zero(moved) or strain is not None:
            structure = _assembled(tree, rest, positions, cell)
            motion = instantiate(positions, moved)

            def flow(params):
                return _flow(partial(charges_fn, params), field, structure, motion, strain)

            changes.append(transformed(flow)(params))
        return value, jax.tree.map(lambda *parts: sum(parts), *changes)

    of_arrays.defjvp(rule, symbolic_zeros=True)
    return of_arrays


@jax.custom_jvp
def _without_rule(array: Array) -> Array:
    """`array`; raises where it is differentiated, as it is where the rule of E . P is lost."""
    return array


def _refuse(primals, tangents):
    raise NotImplementedError(
        "E . P of a crystal: no derivatives with respect to positions or cell after two "
        "reverse-mode derivatives with respect to parameters; take one of these by jax.jvp"
    )


_without_rule.defjvp(_refuse)


def _turned(field, field_dot, strain) -> Array | None:
    """Change of the field equivalent to a change of field and strain; None for none."""
    if strain is None:
        return None if is_zero(field_dot) else field_dot
    return matmul(strain, field) + instantiate(field, field_dot)


def _flow(charges_fn, field, structure: Structure, moved, strain) -> Array:
    """Derivative of E . P as atoms move and the cell is strained, less what turns the field.

    Args:
        charges_fn: `(structure, bloch) -> (atoms,)`.
        field: as of E . P.
        structure: one structure.
        moved: displacements (atoms, 3), those by strain included.
        strain: (3, 3) or None for none.
    """
    positions, mask = structure.positions, structure.mask

    def rate(wave, along, lift=None):
        """Rate of the total charge as atoms move along `along`, Bloch-weighted; the charges.

        Along the open direction of a slab plain positions suffice: `lift` weights the charges
        by them.
        """
        weight = 1.0 if lift is None else 1.0 + matmul(from_centre(positions, mask), lift)

        def total(places):
            charges = charges_fn(replace(structure, positions=places), wave)
            return jnp.sum(charges * weight), charges

        return jax.jvp(total, (positions,), (along,), has_aux=True)[1:]

    origin = jnp.zeros_like(field)
    change = 0.0
    if strain is not None:
        moved = moved - matmul(positions, strain)
        slopes, second = _wave_slopes(charges_fn, structure)
        change = vdot(field, _strain_flow(second, strain))
    if structure.plan.slab is None:
        if strain is None:
            # A gradient: fields along all directions share everything but a last product.
            of_wave, charges = jax.grad(rate, has_aux=True)(origin, moved)
        else:
            of_wave, charges = einsum("iba,ib->a", slopes, moved), charges_fn(structure, None)
        return change + vdot(field, of_wave + matmul(charges, moved))
    (of_wave, of_lift), charges = jax.grad(rate, (0, 2), has_aux=True)(origin, moved, origin)
    outward = outward_part(field, structure)
    weight = mask.astype(charges.dtype)
    mean = jnp.sum(charges) / jnp.maximum(jnp.sum(weight), 1.0)
    change -= mean * vdot(weight, matmul(moved, outward))
    change += vdot(field, of_wave + matmul(charges, moved))
    return change + vdot(outward, of_lift - of_wave)


def _wave_slopes(charges_fn, structure: Structure) -> tuple[Array, Array]:
    r"""Bloch-weighted change of the total charge as atoms move: its derivatives in the wave.

    They depend neither on the field nor on the motion. Fields along all directions share them,
    and every derivative that is linear in field or motion is a product with them.

    Returns:
        the first derivatives :math:`\sum_j (r_j - r_i)_a\,\partial q_j/\partial r_{ib}`,
        (atoms, b, a); and the second ones :math:`M_{ac,b}` for all atoms together, (b, a, c).
    """

    def of_motion(wave):
        def total(places):
            return jnp.sum(charges_fn(replace(structure, positions=places), wave))

        return jax.grad(total)(structure.positions)

    def first(wave):
        slopes = jax.jacfwd(of_motion)(wave)
        return jnp.sum(slopes, axis=0), slopes

    origin = jnp.zeros(3, structure.positions.dtype)
    second, slopes = jax.jacfwd(first, has_aux=True)(origin)
    return slopes, second


def _strain_flow(second, strain) -> Array:
    r""":math:`e_{a,bc}\epsilon_{bc}` of charges, e angstrom, (3,); `second` is M."""
    even = 0.5 * (strain + strain.T)
    along = einsum("bac,bc->a", second, even)
    return 0.5 * einsum("abc,bc->a", second, even) - along


def outward_part(field, structure):
    """The part of a field along the open direction of a slab; zero in a crystal."""
    normal, _ = slab_normal(structure.cell, structure.open_axis)
    return jnp.where(structure.open_axis >= 0, vdot(field, normal) * normal, 0.0)


def _assembled(tree, rest, positions, cell) -> Structure:
    return replace(jax.tree.unflatten(tree, rest), positions=positions, cell=cell)
