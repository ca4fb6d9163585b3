r"""Moments in a uniform applied field: the electric enthalpy (docs/theory.md, Applied field)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jles.electrostatics.multipoles import Dipoles, Multipoles, summed_channels
from jles.electrostatics.response.induction import (
    MAX_STEPS,
    Drive,
    Induced,
    Response,
    answer,
    dot,
    drive_of,
    effective_multipoles,
    induce,
)
from jles.errors import InputError
from jles.typing import AtomMask, Positions


class Enthalpy(NamedTuple):
    """Enthalpy (eV), effective moments, polarization of them (e angstrom), what was induced."""

    energy: Float[Array, ""]
    effective: Multipoles
    polarization: Float[Array, " 3"]
    induced: Induced | None


def polarization(
    moments: Multipoles, positions: Positions, mask: AtomMask | None = None
) -> Float[Array, " 3"]:
    r""":math:`P = \sum_i (q_i - \langle q\rangle) r_i + \sum_i u_i`, e angstrom, channels summed.

    In a crystal a branch: that of the positions as they are given. `mask` is False on padding.
    """
    total = summed_channels(moments.charges) @ from_centre(positions, mask)
    return total + sum_of_dipoles(moments.dipoles, positions.dtype)


def from_centre(positions: Positions, mask: AtomMask | None = None) -> Positions:
    """Positions less their mean over the atoms, angstrom; `mask` is False on padding."""
    if mask is None:
        return positions - jnp.mean(positions, axis=0)
    weight = mask.astype(positions.dtype)
    return positions - weight @ positions / jnp.maximum(jnp.sum(weight), 1.0)


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

    One shot: U with the induction energy of section 5 of docs/conventions.md, P of the effective
    moments, :math:`A = \sum\alpha_i`, in a cluster also :math:`\sum\kappa_i\rho_i\rho_i` with
    :math:`\rho` from the centre at which :math:`\sum\kappa\rho = 0`. Self-consistent: the minimum
    of the same functional in the presence of the field. In a crystal softness answers the
    potential of the moments only, since a potential that grows without end has no bulk meaning.

    Args:
        interaction: quadratic form of the moments, eV.
        moments: permanent.
        positions: angstrom, for P.
        response: what answers.
        field: V/angstrom; None for none.
        periodic: crystal or slab.
        mask: False on padding atoms, whose moments and response are zero.
        coupling: `(field, charges) -> E . P` of charges; by default `polarization` of them. A
            model whose charges move with the atoms gives one with the right derivative.
        tolerance: see `response.relax`.
        max_steps: see `response.relax`.
    """
    is_solved = response is not None and response.mode == "self-consistent"
    soft = response is not None and response.charge_softness is not None
    if is_solved and soft and field is not None and periodic is not False:
        raise InputError(
            "charge_softness with mode 'self-consistent' has no answer to a field in a periodic "
            "cell, whose potential grows without end; use mode 'one-shot' or no charge_softness"
        )
    if coupling is None:

        def coupling(field, charges):
            return field @ polarization(Multipoles(charges), positions, mask)

    energy = interaction(moments)
    induced, effective = None, moments
    if response is not None and response.answers:
        drive = drive_of(interaction, moments, response)
        climb = _climb(field, positions, mask, periodic)
        if is_solved:
            drive = _with_field(drive, field, climb)
        induced = induce(interaction, drive, response, tolerance, max_steps)
        energy += induced.energy
        effective = effective_multipoles(moments, induced)
    if field is not None:
        # What a solve finds in the field has met it already; one shot has not.
        met = moments if is_solved else effective
        energy -= coupling(field, met.charges) + field @ sum_of_dipoles(
            met.dipoles, positions.dtype
        )
    if field is not None and induced is not None and not is_solved:
        alone = _with_field(jax.tree.map(jnp.zeros_like, drive), field, climb)
        more = answer(_centred(response), alone)
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
    return jnp.where(periodic, 0.0, from_centre(positions, mask) @ field)


def _with_field(drive: Drive, field, climb) -> Drive:
    """The applied field added; in a cluster its potential -E.r too."""
    if field is None:
        return drive
    charges, dipoles = drive
    if charges is not None:
        charges = charges + climb.reshape(-1, *[1] * (charges.ndim - 1))
    return Drive(charges, None if dipoles is None else dipoles + field)


def _centred(response: Response) -> Response:
    """A conserving answer is one from the centre of softness."""
    return Response(response.charge_softness, response.polarizabilities, "one-shot", True)


def _sum(first, second):
    return None if first is None else first + second
