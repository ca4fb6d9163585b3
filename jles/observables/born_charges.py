r"""Born effective charges, and their products with vectors, without forming the tensor.

Every function here takes the polarization in one of two forms: a *dipole function*
:math:`r \to P(r)`, or a *coupling* :math:`(r, E) \to E\cdot P(r)`, the part of the enthalpy
that is linear in the field. A coupling is cheaper in reverse mode; models have one,
`coupling_fn`.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jles.errors import InputError
from jles.products import einsum, matmul, vdot
from jles.step_sizes import step_sizes
from jles.structures.structure import HostOrDevice
from jles.typing import AtomMask, Cell, Positions

Dipole = Callable[[Positions], Float[Array, " 3"]]
Coupling = Callable[[Positions, Float[Array, " 3"]], Float[Array, ""]]
BornCharges = Float[HostOrDevice, "atoms 3 3"]


def coupling_of(polarization: Dipole | Coupling) -> Coupling:
    """The coupling of a dipole function (e angstrom); a coupling is returned as it is.

    The mandatory positional parameters of the function decide: a dipole function has one, a
    coupling two. A single parameter followed by optional ones could be either and is refused.

    Raises:
        InputError: the function has other parameters, or they cannot be inspected.
    """
    try:
        parameters = list(inspect.signature(polarization).parameters.values())
    except (TypeError, ValueError):
        kind = type(polarization).__name__
        raise InputError(
            f"{_FORMS}; got a {kind} whose parameters are unknown: wrap it in a lambda"
        ) from None
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    mandatory = [p for p in parameters if p.default is p.empty and p.kind not in _VARIADIC]
    if all(p.kind in _POSITIONAL for p in mandatory):
        if len(mandatory) == 2:
            return polarization
        if len(mandatory) == len(positional) == 1:
            return lambda positions, field: vdot(field, polarization(positions))
    shown = ", ".join(map(_without_default, parameters))
    raise InputError(f"{_FORMS}, without defaults; got ({shown}): wrap it in a lambda")


_FORMS = "polarization: must be a dipole function (positions) or a coupling (positions, field)"
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def _without_default(parameter: inspect.Parameter) -> str:
    """The parameter as text; a default value may be an array of many lines."""
    none = inspect.Parameter.empty
    bare = str(parameter.replace(default=none, annotation=none))
    return bare if parameter.default is none else f"{bare}=..."


def born_charges(
    polarization: Dipole | Coupling,
    positions: Positions,
    mode: Literal["reverse", "forward"] = "reverse",
    chunk: int | None = None,
) -> BornCharges:
    r"""Born effective charges, e: :math:`Z^*_{i,ab} = \partial P_a / \partial r_{ib}`.

    They are exact if the derivative of `polarization` is: of a molecule any dipole function
    will do; of a crystal take `coupling_fn` or `dipole_fn` of a model, or `crystal_coupling`.

    Args:
        polarization: a dipole function or a coupling, see above.
        positions: angstrom.
        mode: three reverse passes, or 3N forward ones, which agree to rounding; static. Use
            "reverse" where the result is differentiated again, as in training.
        chunk: number of passes made at once, which bounds the memory. Reverse: three or one.

    Raises:
        InputError: another mode, or a function that is neither.
    """
    coupling = coupling_of(polarization)
    if mode not in ("reverse", "forward"):
        raise InputError(f"mode must be 'reverse' or 'forward', got {mode!r}")
    axes = jnp.eye(3, dtype=positions.dtype)
    if mode == "reverse":
        # Not lax.map with a batch size: jax 0.10.1 cannot differentiate that any further.
        atoms = positions.shape[0]
        few = isinstance(atoms, int) and atoms <= step_sizes().born_atoms
        together = few if chunk is None else chunk >= 3
        row = partial(jax.grad(coupling), positions)
        rows = jax.vmap(row)(axes) if together else lax.map(row, axes)
        return jnp.moveaxis(rows, 0, 1)

    def dipole(places):
        return jnp.stack([coupling(places, axis) for axis in axes])

    def column(place):
        moved = jnp.zeros(positions.size, positions.dtype).at[place].set(1.0)
        return jax.jvp(dipole, (positions,), (moved.reshape(positions.shape),))[1]

    columns = lax.map(column, jnp.arange(positions.size), batch_size=chunk or 16)
    return jnp.moveaxis(columns.reshape(*positions.shape, 3), 2, 1)


def field_force(
    polarization: Dipole | Coupling, positions: Positions, field: Float[Array, " 3"]
) -> Float[Array, "atoms 3"]:
    r"""Force of a weak field, eV/angstrom: :math:`F_i = E\cdot Z^*_i`, one reverse pass.

    Args:
        polarization: a dipole function or a coupling, see above.
        positions: angstrom.
        field: V/angstrom.
    """
    return jax.grad(coupling_of(polarization))(positions, field)


def dipole_current(
    polarization: Dipole | Coupling,
    positions: Positions,
    velocities: Float[Array, "atoms 3"],
    mode: Literal["reverse", "forward"] = "forward",
) -> Float[Array, " 3"]:
    r"""Rate of the polarization: :math:`\dot P = \sum_i Z^*_i v_i`.

    Args:
        polarization: a dipole function or a coupling, see above.
        positions: angstrom.
        velocities: angstrom per unit of time; the rate is in e angstrom per unit of time.
        mode: "forward" makes one directional derivative, "reverse" makes all Born charges and
            multiplies them. They agree to rounding; "forward" is never the slower one.
    """
    coupling = coupling_of(polarization)
    if mode == "reverse":
        charges = born_charges(coupling, positions)
        return einsum("iab,ib->a", charges, velocities)

    def rate(axis):
        return jax.jvp(lambda places: coupling(places, axis), (positions,), (velocities,))[1]

    return jax.vmap(rate)(jnp.eye(3, dtype=positions.dtype))


def wave_born_charges(
    charges_fn: Callable[[Positions], Float[Array, " atoms"]],
    positions: Positions,
    cell: Cell,
    mask: AtomMask,
) -> BornCharges:
    r"""Born charges of the charges in a crystal by the published formula, for comparison.

    .. math:: P_a = \sum_i (q_i - \langle q\rangle) \frac{e^{i b_a\cdot r_i}}{2\pi i}, \quad
        Z^*_i = \mathrm{Re}\left[e^{-i b_a\cdot r_i}\,\partial P_a/\partial r_i\right]

    along each reciprocal vector, then transformed to Cartesian axes. Charge that flows a
    distance d counts only with :math:`\sin(2\pi d/L)/(2\pi d/L)`, which grows with the cell.
    `born_charges` of `crystal_coupling` is exact.

    Args:
        charges_fn: effective charges, e, zero on padding.
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.
        mask: False on padding atoms.

    Source: docs/theory.md, Polarization of a crystal; Zhong et al., arXiv 2504.05169.
    """
    weight = mask.astype(positions.dtype)
    inverse = jnp.linalg.inv(cell)

    def waves(places):
        """Real and imaginary parts of P along every reciprocal vector, (6,)."""
        charges = charges_fn(places)
        charges = (charges - jnp.sum(charges) / jnp.sum(weight)) * weight
        angles = matmul(2.0 * math.pi * places, inverse)
        return jnp.concatenate(
            [matmul(charges, jnp.sin(angles)), -matmul(charges, jnp.cos(angles))]
        )

    slopes = jax.jacrev(waves)(positions) / (2.0 * math.pi)
    angles = matmul(2.0 * math.pi * positions, inverse)
    cosine, sine = (f(angles).T[..., None] for f in (jnp.cos, jnp.sin))
    reduced = cosine * slopes[:3] + sine * slopes[3:]
    return einsum("rib,ra->iab", reduced, cell)


def acoustic_sum(charges: BornCharges) -> Float[HostOrDevice, "3 3"]:
    r""":math:`\sum_i Z^*_i`, e: the total charge times the identity if charge is conserved."""
    return charges.sum(axis=0)


def obey_sum_rule(
    charges: BornCharges, mask: Bool[HostOrDevice, " atoms"], total_charge=0.0
) -> BornCharges:
    r"""Born charges less their mean residual: :math:`\sum_i Z^*_i = Q_{tot}` afterwards.

    Args:
        charges: e, of JAX or NumPy; zero on padding.
        mask: False on padding atoms.
        total_charge: e.
    """
    weight = mask.astype(charges.dtype)
    identity = np.eye(3, dtype=charges.dtype)
    residual = (acoustic_sum(charges) - total_charge * identity) / weight.sum()
    return charges - weight[:, None, None] * residual
