r"""Conjugate gradients for :math:`(1 + K R)\,w = b` with symmetric K and R.

R must be positive semidefinite.

The operator is self-adjoint in the inner product :math:`\langle x, y\rangle = x\cdot R y`. The
method needs neither an inverse nor a root of R, so responses may be zero. Derivatives of any
order follow from the implicit function theorem.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from jles.products import vdot

Vector = Any
"""A pytree of arrays."""


def unchanged(vector: Vector) -> Vector:
    """The projection for a response R without a null space."""
    return vector


def solve(
    interact: Callable[[Vector], Vector],
    respond: Callable[[Vector], Vector],
    right_side: Vector,
    tolerance: float,
    max_steps: int,
    noise=0.0,
    project: Callable[[Vector], Vector] = unchanged,
) -> tuple[Vector, Int[Array, ""]]:
    """The solution w, with K `interact` and R `respond`, and the number of steps.

    Args:
        interact: static.
        respond: static.
        right_side: b.
        tolerance: on the relative residual.
        noise: residual, in the norm of R, that counts as converged.
        project: removes components in the null space of R, so that R x = R project(x). Without
            it such a component, which may be large, spoils the inner products by rounding.
        max_steps: limit of the iteration. It also ends if K + 1/R proves not to be positive:
            check the residual of the result.
    """

    def operator(vector):
        return _add(vector, interact(respond(vector)))

    def forward(_, b):
        return _iterate(interact, respond, b, tolerance, max_steps, noise, project)

    def transposed(_, b):
        # (1 + R K) y = b has the solution y = b - R v with (1 + K R) v = K b.
        b_v = interact(b)
        v, steps = _iterate(interact, respond, b_v, tolerance, max_steps, noise, project)
        return _add(b, respond(v), -1.0), steps

    return lax.custom_linear_solve(operator, right_side, forward, transposed, has_aux=True)


def _iterate(interact, respond, b, tolerance, max_steps, noise, project):
    def inner(x, y):
        return sum(jax.tree.leaves(jax.tree.map(vdot, x, y)))

    projected = project(b)
    norm = inner(projected, respond(projected))
    goal = jnp.maximum(tolerance**2 * norm, noise**2)

    def continues(state):
        _, _, _, residual, step, is_positive = state
        return (residual > goal) & (step < max_steps) & is_positive

    def advance(state):
        w, r, p, residual, step, _ = state
        response = respond(p)
        image = project(_add(p, interact(response)))
        curvature = inner(response, image)
        is_positive = curvature > 0.0
        length = residual / jnp.where(is_positive, curvature, 1.0)
        w, r = _add(w, p, length), _add(r, image, -length)
        smaller = inner(r, respond(r))
        p = _add(r, p, smaller / residual)
        return w, r, p, smaller, step + 1, is_positive

    zero = jax.tree.map(jnp.zeros_like, b)
    start = zero, projected, projected, norm, jnp.zeros((), int), jnp.array(True)
    w, _, _, _, steps, _ = lax.while_loop(continues, advance, start)
    # The inner product does not see components where R is zero: the equation itself sets them.
    w = _add(b, interact(respond(w)), -1.0)
    return w, steps


def _add(x: Vector, y: Vector, factor=1.0) -> Vector:
    return jax.tree.map(lambda a, b: a + factor * b, x, y)
