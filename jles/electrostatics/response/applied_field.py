r"""Moments in an applied field: the electric enthalpy (docs/theory.md, Applied field)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jles.electrostatics.multipoles import Dipoles, Multipoles, summed_channels
from jles.electrostatics.response.induction import (
    MAX_STEPS,
    Induced,
    LocalField,
    Response,
    apply_response,
    dot,
    effective_multipoles,
    induce,
    local_field,
)
from jles.errors import InputError
from jles.products import matmul, vdot
from jles.typing import AtomMask, Positions


class Enthalpy(NamedTuple):
    """Enthalpy (eV), effective moments, their polarization (e angstrom), induced moments."""

    energy: Float[Array, ""]
    effective: Multipoles
    polarization: Float[Array, " 3"]
    induced: Induced | None


def polarization(
    moments: Multipoles, positions: Positions, mask: AtomMask | None = None
) -> Float[Array, " 3"]:
    r""":math:`P = \sum_i (q_i - \langle q\rangle) r_i + \sum_i u_i`, e angstrom, over channels.

    In a crystal it is on the branch of the positions as they are given. `mask` is False on
    padding.
    """
    total = matmul(summed_channels(moments.charges), from_centre(positions, mask))
    return total + sum_of_dipoles(moments.dipoles, positions.dtype)


def from_centre(positions: Positions, mask: AtomMask | None = None) -> Positions:
    """Positions less their mean over the atoms, angstrom; `mask` is False on padding."""
    return positions - centre_of(positions, mask)


def centre_of(positions: Positions, mask: AtomMask | None = None) -> Float[Array, " 3"]:
    """Mean position of the atoms, angstrom; `mask` is False on padding."""
    if mask is None:
        return jnp.mean(positions, axis=0)
    weight = mask.astype(positions.dtype)
    return matmul(weight, positions) / jnp.maximum(jnp.sum(weight), 1.0)


def field_on_charge(
    field: Float[Array, " 3"],
    total_charge: Float[Array, ""],
    positions: Positions,
    mask: AtomMask | None = None,
) -> Float[Array, ""]:
    r"""Zero, with the derivative of :math:`E\cdot Q\bar r`, where :math:`\bar r` is the mean.

    `polarization` moves its origin along with the atoms. At a fixed origin a displacement of
    all atoms also transports the total charge Q. With this term derivatives are those at a
    fixed origin, which is the present mean position: forces of a field sum to E Q.
    """
    centre = centre_of(positions, mask)
    return total_charge * vdot(field, centre - lax.stop_gradient(centre))


def sum_of_dipoles(dipoles: Dipoles | None, dtype) -> Float[Array, " 3"]:
    """Over atoms and channels, e angstrom; zero where there are none."""
    return jnp.zeros(3, dtype) if dipoles is None else jnp.sum(dipoles.reshape(-1, 3), axis=0)


def enthalpy(
    interaction: Callable[[Multipoles], Array],
    moments: Multipoles,
    positions: Positions,
    response: Response | None = None,
    field: Float[Array, " 3"] | None = None,
    *,
    periodic: bool | Bool[Array, ""],
    mask: AtomMask | None = None,
    coupling: Callable[[Array, Array], Array] | None = None,
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
) -> Enthalpy:
    r"""Energy of permanent and induced moments in an applied field.

    .. math:: H = U - E\cdot P - \tfrac12 E\cdot A\cdot E

    One-shot: U contains the induction energy of section 5 of docs/conventions.md, P is that of
    the effective moments, and :math:`A = \sum\alpha_i`; in a cluster A also contains
    :math:`\sum\kappa_i\rho_i\rho_i`, with :math:`\rho` from the centre where
    :math:`\sum\kappa\rho = 0`. Self-consistent: H is the minimum of the same functional in the
    field. In a crystal soft charges respond to the potential of the moments only: the potential
    of a uniform field grows without bound and has no bulk meaning.

    Args:
        interaction: quadratic form of the moments, eV.
        moments: permanent.
        positions: angstrom, for P.
        response: of the moments; None for none.
        field: V/angstrom; None for none.
        periodic: crystal or slab.
        mask: False on padding atoms, whose moments and response are zero.
        coupling: `(field, charges) -> E . P` of the charges; by default from `polarization`,
            whose origin moves with the atoms, so that its forces sum to zero. A model, whose
            charges depend on the positions, passes one with the exact derivative.
        tolerance: see `response.relax`.
        max_steps: see `response.relax`.
    """
    is_solved = response is not None and response.mode == "self-consistent"
    soft = response is not None and response.charge_softness is not None
    if is_solved and soft and field is not None and periodic is not False:
        raise InputError(
            "charge_softness with mode 'self-consistent' has no response to a field in a "
            "periodic cell, whose potential grows without bound; use mode 'one-shot' or no "
            "charge_softness"
        )
    if coupling is None:

        def coupling(field, charges):
            return vdot(field, polarization(Multipoles(charges), positions, mask))

    energy = interaction(moments)
    induced, effective = None, moments
    if response is not None and response.responds:
        source = local_field(interaction, moments, response)
        climb = _climb(field, positions, mask, periodic)
        if is_solved:
            source = _with_field(source, field, climb)
        induced = induce(interaction, source, response, tolerance, max_steps)
        energy += induced.energy
        effective = effective_multipoles(moments, induced)
    if field is not None:
        # A self-consistent solve has the energy of its induced moments in the field; one shot
        # not.
        coupled = moments if is_solved else effective
        dipole = sum_of_dipoles(coupled.dipoles, positions.dtype)
        energy -= coupling(field, coupled.charges) + vdot(field, dipole)
    if field is not None and induced is not None and not is_solved:
        alone = _with_field(jax.tree.map(jnp.zeros_like, source), field, climb)
        more = apply_response(_centred(response), alone)
        energy -= 0.5 * dot(alone, more)
        induced = induced._replace(
            charges=_sum(induced.charges, more.charges),
            dipoles=_sum(induced.dipoles, more.dipoles),
        )
        effective = effective_multipoles(moments, induced)
    return Enthalpy(energy, effective, polarization(effective, positions, mask), induced)


def _climb(field, positions, mask, periodic):
    """E . r from the centre, in a cluster; zero in a crystal."""
    if field is None:
        return None
    return jnp.where(periodic, 0.0, matmul(from_centre(positions, mask), field))


def _with_field(source: LocalField, field, climb) -> LocalField:
    """Local field with the applied field added, in a cluster with its potential -E . r too."""
    if field is None:
        return source
    charges, dipoles = source
    if charges is not None:
        charges = charges + climb.reshape(-1, *[1] * (charges.ndim - 1))
    return LocalField(charges, None if dipoles is None else dipoles + field)


def _centred(response: Response) -> Response:
    """The response that conserves charge, which refers positions to the centre of softness."""
    return Response(response.charge_softness, response.polarizabilities, "one-shot", True)


def _sum(first, second):
    return None if first is None else first + second
