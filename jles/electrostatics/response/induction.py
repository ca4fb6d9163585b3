r"""Induced moments: a quadratic form, a linear response and a solve (docs/theory.md, Response).

The interaction E(m) is a quadratic form of the moments m. Its gradient K m is the potential,
minus the field and half the field gradient at the atoms, for every kind of sum. All functions
here use that gradient alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jles.electrostatics.multipoles import Multipoles, symmetric, with_dipoles
from jles.electrostatics.response.linear_solve import solve, unchanged
from jles.products import einsum, matmul

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
    """Response of charges to the potential and of dipoles to the field; None for no response.

    Arrays may be of JAX or NumPy.

    Attributes:
        charge_softness: kappa >= 0, e/V, in the shape of the charges.
        polarizabilities: alpha >= 0, e angstrom^2/V; a number or a symmetric matrix per atom
            (and channel).
        mode: "one-shot", as published: moments are induced by the permanent ones alone.
            "self-consistent": induced moments act on one another too.
        conserve_charge: the induced charges of each channel sum to zero.
    """

    charge_softness: Any = None
    polarizabilities: Any = None
    mode: str = field(default="one-shot", metadata={"static": True})
    conserve_charge: bool = field(default=False, metadata={"static": True})

    @property
    def responds(self) -> bool:
        """True if charges or dipoles respond."""
        return self.charge_softness is not None or self.polarizabilities is not None


def positive(values: Array, scale: float = 1.0) -> Array:
    """Softness or scalar polarizability from any numbers: `scale` times softplus."""
    return scale * jax.nn.softplus(values)


def positive_tensor(matrices: Float[Array, "... 3 3"], scale: float = 1.0) -> Array:
    """Polarizability tensors from any matrices: `scale` times A A^T, positive semidefinite."""
    transposed = jnp.swapaxes(matrices, -1, -2)
    return scale * matmul(matrices, transposed)


class LocalField(NamedTuple):
    """Local fields that induce moments: minus the potential (V), and the field (V/angstrom).

    The moments that it induces come in the same record: charges (e) and dipoles (e angstrom).
    An entry is None where nothing responds.
    """

    charges: Array | None
    dipoles: Array | None


class SolveReport(NamedTuple):
    """Iterations, true relative residual in the norm of R, and whether the solve converged."""

    steps: Int[Array, ""]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


class Induced(NamedTuple):
    """Energy (eV) of the response, induced charges and dipoles, and a report of the solve."""

    energy: Float[Array, ""]
    charges: Array | None
    dipoles: Array | None
    report: SolveReport | None


def local_field(
    interaction: Callable[[Multipoles], Array], moments: Multipoles, response: Response
) -> LocalField:
    """The local field of `moments` at the atoms, for the moments that respond."""
    if response.polarizabilities is not None:
        moments = with_dipoles(moments)
    slope = jax.grad(interaction)(moments)
    return LocalField(
        -slope.charges if response.charge_softness is not None else None,
        -slope.dipoles if response.polarizabilities is not None else None,
    )


def apply_response(response: Response, local: LocalField) -> LocalField:
    r"""R f: :math:`\Delta q = \kappa f_q`, :math:`\Delta u = \alpha f_u`.

    With conservation :math:`\Delta q_i = \kappa_i (f_i - \bar f)`,
    :math:`\bar f = \sum\kappa f / \sum\kappa`.
    """
    charges = dipoles = None
    if local.charges is not None:
        softness = response.charge_softness
        charges = softness * without_mean(response, local).charges
    if local.dipoles is not None:
        dipoles = apply_polarizability(response.polarizabilities, local.dipoles)
    return LocalField(charges, dipoles)


def without_mean(response: Response, local: LocalField) -> LocalField:
    """The field without the mean potential, which conserved charges do not respond to."""
    if local.charges is None or not response.conserve_charge:
        return local
    softness = response.charge_softness
    total = jnp.sum(softness, axis=0)
    mean = jnp.sum(softness * local.charges, axis=0) / jnp.where(total > 0.0, total, 1.0)
    return local._replace(charges=local.charges - mean)


def apply_polarizability(polarizabilities: Polarizability, local: Array) -> Array:
    """Alpha times the field of every atom; alpha is a tensor if it has two axes more."""
    if polarizabilities.ndim == local.ndim - 1:
        return polarizabilities[..., None] * local
    tensors = symmetric(polarizabilities)
    return einsum("...ab,...b->...a", tensors, local)


def induce(
    interaction: Callable[[Multipoles], Array],
    source: LocalField,
    response: Response,
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
) -> Induced:
    r"""Energy and moments that `source` induces, as `response.mode` says.

    One shot: :math:`\Delta = R f`, energy :math:`-\tfrac12 f\cdot R f`. Self-consistent:
    `relax`.

    Args:
        interaction: quadratic form of the moments, eV.
        source: local field of the permanent moments and of applied fields, see `local_field`.
        response: of the moments.
        tolerance: see `relax`.
        max_steps: see `relax`.
    """

    def respond(local: LocalField) -> LocalField:
        return apply_response(response, local)

    if response.mode == "self-consistent":
        free = replace(response, conserve_charge=False)
        noise = rounding(source, lambda local: apply_response(free, local))

        def project(local: LocalField) -> LocalField:
            return without_mean(response, local)

        return relax(interaction, source, respond, tolerance, max_steps, noise, project)
    moments = respond(source)
    zero = jnp.zeros((), jax.tree.leaves(source)[0].dtype)
    done = SolveReport(jnp.zeros((), int), zero, jnp.array(True))
    return Induced(-0.5 * dot(source, moments), *moments, done)


def relax(
    interaction: Callable[[Multipoles], Array],
    source: LocalField,
    respond: Callable[[LocalField], LocalField],
    tolerance: float | None = None,
    max_steps: int = MAX_STEPS,
    noise: Array | float = 0.0,
    project: Callable[[LocalField], LocalField] = unchanged,
) -> Induced:
    r"""Energy and moments at the minimum over the induced moments.

    .. math:: \tfrac12\Delta\cdot K\Delta + \tfrac12\Delta\cdot R^{-1}\Delta - f\cdot\Delta

    has its minimum at :math:`\Delta = R w` with :math:`(1 + K R)\,w = f`. The solve is
    iterative; its derivatives are implicit and exact to any order. First derivatives of the
    energy need no further solve, because w is kept constant. A Newton step whose value is zero
    supplies the higher derivatives.

    Args:
        interaction: quadratic form of the moments, eV; its Hessian is K.
        source: f.
        respond: R, linear, symmetric and positive semidefinite.
        tolerance: relative residual; by default 1e-6 in float32, 1e-11 in float64.
        max_steps: of the iteration. Without convergence every result is NaN.
        noise: residual that rounding alone leaves, see `rounding`.
        project: removes components of a local field that R ignores, see `solve`.
    """

    # The solves apply K a dozen times; under `jit` it is traced and differentiated once.
    @jax.jit
    def interact(moments: LocalField) -> LocalField:
        slope = jax.grad(interaction)(_as_multipoles(moments))
        return LocalField(
            slope.charges if moments.charges is not None else None,
            slope.dipoles if moments.dipoles is not None else None,
        )

    if tolerance is None:
        tolerance = 1e-6 if jax.tree.leaves(source)[0].dtype == jnp.float32 else 1e-11
    local, steps = lax.stop_gradient(
        solve(interact, respond, source, tolerance, max_steps, noise, project)
    )
    induced = respond(local)
    pull = jax.tree.map(lambda a, b, c: a + b - c, interact(induced), local, source)
    scale = jnp.maximum(_norm(project(source), respond), noise / tolerance)
    residual = lax.stop_gradient(_relative(_norm(project(pull), respond), scale))
    # The true residual: rounding may corrupt the one that the iteration carries along.
    converged = residual <= _SLACK * tolerance
    report = SolveReport(steps, residual, converged)
    local = jax.tree.map(lambda x: jnp.where(converged, x, jnp.nan), local)
    # Evaluated again with NaN: derivatives with respect to the response are then NaN, not zero.
    induced = respond(local)
    slack = jax.tree.map(lambda x: x - lax.stop_gradient(x), pull)
    step, _ = solve(interact, respond, slack, tolerance, max_steps, project=project)
    settled = interaction(_as_multipoles(induced))
    energy = settled + 0.5 * dot(local, induced) - dot(source, induced)
    energy = energy - 0.5 * dot(slack, respond(step))
    moments = respond(jax.tree.map(jnp.subtract, local, step))
    return Induced(energy, *moments, report)


def rounding(source: LocalField, respond: Callable[[LocalField], LocalField]) -> Array:
    """Residual that rounding leaves where charge conservation cancels most of a response.

    Args:
        source: the local field.
        respond: the response without charge conservation.
    """
    epsilon = jnp.finfo(jax.tree.leaves(source)[0].dtype).eps
    return 30.0 * epsilon * _norm(lax.stop_gradient(source), respond)


def effective_multipoles(moments: Multipoles, induced: Induced) -> Multipoles:
    """Permanent plus induced moments, which polarization and Born charges are made of."""
    charges, dipoles, quadrupoles = moments
    if induced.charges is not None:
        charges = charges + induced.charges
    if induced.dipoles is not None:
        dipoles = induced.dipoles if dipoles is None else dipoles + induced.dipoles
    return Multipoles(charges, dipoles, quadrupoles)


def _as_multipoles(moments: LocalField) -> Multipoles:
    charges = moments.charges
    if charges is None:
        charges = jnp.zeros(moments.dipoles.shape[:-1], moments.dipoles.dtype)
    return Multipoles(charges, moments.dipoles)


def dot(first: LocalField, second: LocalField) -> Array:
    """Sum of the products of all components."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return sum(jnp.sum(a * b) for a, b in pairs)


def _norm(local: LocalField, respond) -> Array:
    squared = dot(local, respond(local))
    return jnp.sqrt(jnp.where(squared > 0.0, squared, 0.0))


def _relative(residual: Array, scale: Array) -> Array:
    return residual / jnp.where(scale > 0.0, scale, 1.0)
