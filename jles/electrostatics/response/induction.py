r"""Induced moments: one quadratic form, one linear answer, one solve (docs/theory.md, Response).

The interaction E(m) is a quadratic form of the moments m, so its gradient K m is the potential,
minus the field and half the field gradient at the atoms, whichever sum computed it. Everything
here is written on that gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jles.electrostatics.multipoles import Multipoles, symmetric, with_dipoles
from jles.electrostatics.response.linear_solve import solve

Polarizability = (
    Float[Array, " atoms"]
    | Float[Array, "atoms 3 3"]
    | Float[Array, "atoms channels"]
    | Float[Array, "atoms channels 3 3"]
)

MAX_STEPS = 200

_SLACK = 10.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Response:
    """How moments answer potential and field; nothing answers where both are None.

    Any arrays will do, of JAX or NumPy.

    Attributes:
        charge_softness: kappa >= 0, e/V, of the shape of the charges.
        polarizabilities: alpha >= 0, e angstrom^2/V; a number or a symmetric matrix per atom (and
            channel).
        mode: "one-shot", as published: induced moments answer the permanent ones and do not see
            one another; "self-consistent": they do.
        conserve_charge: the induced charges of each channel sum to zero.
    """

    charge_softness: Any = None
    polarizabilities: Any = None
    mode: str = field(default="one-shot", metadata={"static": True})
    conserve_charge: bool = field(default=False, metadata={"static": True})

    @property
    def answers(self) -> bool:
        """Whether there is anything in it."""
        return self.charge_softness is not None or self.polarizabilities is not None


def positive(values: Array, scale: float = 1.0) -> Array:
    """Softness or scalar polarizability from any numbers: `scale` times softplus."""
    return scale * jax.nn.softplus(values)


def positive_tensor(matrices: Float[Array, "... 3 3"], scale: float = 1.0) -> Array:
    """Polarizability tensors from any matrices: `scale` times A A^T, no negative eigenvalue."""
    transposed = jnp.swapaxes(matrices, -1, -2)
    return scale * jnp.matmul(matrices, transposed, precision=lax.Precision.HIGHEST)


class Drive(NamedTuple):
    """What moments answer to: minus the potential (V) and the field (V/angstrom)."""

    charges: Array | None
    dipoles: Array | None


class SolveReport(NamedTuple):
    """How a solve ended: iterations, true relative residual in the norm of R, and success."""

    steps: Int[Array, ""]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


class Induced(NamedTuple):
    """Energy (eV) gained by responding, the induced charges and dipoles, and how it was solved."""

    energy: Float[Array, ""]
    charges: Array | None
    dipoles: Array | None
    report: SolveReport


def drive_of(
    interaction: Callable[[Multipoles], Array], moments: Multipoles, response: Response
) -> Drive:
    """Minus potential and field of `moments` at the atoms, as far as `response` answers them."""
    if response.polarizabilities is not None:
        moments = with_dipoles(moments)
    slope = jax.grad(interaction)(moments)
    return Drive(
        -slope.charges if response.charge_softness is not None else None,
        -slope.dipoles if response.polarizabilities is not None else None,
    )


def answer(response: Response, drive: Drive) -> Drive:
    r"""R f: :math:`\Delta q = \kappa f_q`, :math:`\Delta u = \alpha f_u`.

    With conservation :math:`\Delta q_i = \kappa_i (f_i - \bar f)`,
    :math:`\bar f = \sum\kappa f / \sum\kappa`.
    """
    charges = dipoles = None
    if drive.charges is not None:
        softness = response.charge_softness
        charges = softness * drive.charges
        if response.conserve_charge:
            total = jnp.sum(softness, axis=0)
            mean = jnp.sum(charges, axis=0) / jnp.where(total > 0.0, total, 1.0)
            charges = charges - softness * mean
    if drive.dipoles is not None:
        dipoles = apply_polarizability(response.polarizabilities, drive.dipoles)
    return Drive(charges, dipoles)


def apply_polarizability(polarizabilities: Polarizability, local: Array) -> Array:
    """Alpha times the field of every atom; scalar or tensor, told apart by the number of axes."""
    if polarizabilities.ndim == local.ndim - 1:
        return polarizabilities[..., None] * local
    tensors = symmetric(polarizabilities)
    return jnp.einsum("...ab,...b->...a", tensors, local, precision=lax.Precision.HIGHEST)


def induce(
    interaction: Callable[[Multipoles], Array],
    drive: Drive,
    response: Response,
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
) -> Induced:
    r"""Energy and moments induced by `drive` as `response.mode` says.

    One shot: :math:`\Delta = R f`, energy :math:`-\tfrac12 f\cdot R f`. Self-consistent: `relax`.

    Args:
        interaction: quadratic form of the moments, eV.
        drive: of the permanent moments and of applied fields, see `drive_of`.
        response: what answers it.
        tolerance: see `relax`.
        max_steps: see `relax`.
    """

    def respond(local: Drive) -> Drive:
        return answer(response, local)

    if response.mode == "self-consistent":
        free = replace(response, conserve_charge=False)
        noise = rounding(drive, lambda local: answer(free, local))
        return relax(interaction, drive, respond, tolerance, max_steps, noise)
    moments = respond(drive)
    zero = jnp.zeros((), jax.tree.leaves(drive)[0].dtype)
    done = SolveReport(jnp.zeros((), int), zero, jnp.array(True))
    return Induced(-0.5 * dot(drive, moments), *moments, done)


def relax(
    interaction: Callable[[Multipoles], Array],
    drive: Drive,
    respond: Callable[[Drive], Drive],
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
    noise: Array | float = 0.0,
) -> Induced:
    r"""Energy and moments at the minimum over the induced moments.

    .. math:: \tfrac12\Delta\cdot K\Delta + \tfrac12\Delta\cdot R^{-1}\Delta - f\cdot\Delta

    is least at :math:`\Delta = R w` with :math:`(1 + K R)\,w = f`. The solve is iterative, its
    derivatives are implicit and right to any order: with w kept constant the energy's first
    derivatives need no further solve, and a Newton step whose value is zero supplies the higher
    ones.

    Args:
        interaction: quadratic form of the moments, eV; its Hessian is K.
        drive: f.
        respond: R, linear, symmetric and not negative.
        tolerance: relative residual; by default 1e-6 in float32, 1e-11 in float64.
        max_steps: of the iteration. Where it has not converged every result is NaN.
        noise: residual that is rounding alone, see `rounding`.
    """

    def interact(moments: Drive) -> Drive:
        slope = jax.grad(interaction)(_as_multipoles(moments))
        return Drive(
            slope.charges if moments.charges is not None else None,
            slope.dipoles if moments.dipoles is not None else None,
        )

    if tolerance is None:
        tolerance = 1e-6 if jax.tree.leaves(drive)[0].dtype == jnp.float32 else 1e-11
    local, steps = lax.stop_gradient(
        solve(interact, respond, drive, tolerance, max_steps, noise)
    )
    induced = respond(local)
    pull = jax.tree.map(lambda a, b, c: a + b - c, interact(induced), local, drive)
    scale = jnp.maximum(_norm(drive, respond), noise / tolerance)
    residual = lax.stop_gradient(_relative(_norm(pull, respond), scale))
    # Not what the iteration believes, which rounding may fool, but what is left in truth.
    converged = residual <= _SLACK * tolerance
    report = SolveReport(steps, residual, converged)
    local = jax.tree.map(lambda x: jnp.where(converged, x, jnp.nan), local)
    # Again, so that no slope in the response is a silent zero either.
    induced = respond(local)
    slack = jax.tree.map(lambda x: x - lax.stop_gradient(x), pull)
    step, _ = solve(interact, respond, slack, tolerance, max_steps)
    settled = interaction(_as_multipoles(induced))
    energy = settled + 0.5 * dot(local, induced) - dot(drive, induced)
    energy = energy - 0.5 * dot(slack, respond(step))
    moments = respond(jax.tree.map(jnp.subtract, local, step))
    return Induced(energy, *moments, report)


def rounding(drive: Drive, respond: Callable[[Drive], Drive]) -> Array:
    """Residual that rounding leaves where conservation forbids almost all of an answer.

    Args:
        drive: what is answered.
        respond: the response, as if it conserved nothing.
    """
    epsilon = jnp.finfo(jax.tree.leaves(drive)[0].dtype).eps
    return 30.0 * epsilon * _norm(lax.stop_gradient(drive), respond)


def effective_multipoles(moments: Multipoles, induced: Induced) -> Multipoles:
    """Permanent plus induced moments: what polarization and Born charges are made of."""
    charges, dipoles, quadrupoles = moments
    if induced.charges is not None:
        charges = charges + induced.charges
    if induced.dipoles is not None:
        dipoles = induced.dipoles if dipoles is None else dipoles + induced.dipoles
    return Multipoles(charges, dipoles, quadrupoles)


def _as_multipoles(moments: Drive) -> Multipoles:
    charges = moments.charges
    if charges is None:
        charges = jnp.zeros(moments.dipoles.shape[:-1], moments.dipoles.dtype)
    return Multipoles(charges, moments.dipoles)


def dot(first: Drive, second: Drive) -> Array:
    """Sum of the products of all components."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return sum(jnp.sum(a * b) for a, b in pairs)


def _norm(local: Drive, respond) -> Array:
    squared = dot(local, respond(local))
    return jnp.sqrt(jnp.where(squared > 0.0, squared, 0.0))


def _relative(residual: Array, scale: Array) -> Array:
    return residual / jnp.where(scale > 0.0, scale, 1.0)
