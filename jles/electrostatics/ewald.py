"""The reciprocal lattice sum of smeared charges (docs/conventions.md, section 2)."""

import math
from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jles.electrostatics.kgrid import SPHERE_TOLERANCE, KGrid
from jles.electrostatics.structure_factor import HIGHEST, structure_products
from jles.typing import Cell, Charges, Positions, Scalar
from jles.units import COULOMB_CONSTANT, HALF_INVERSE_EPSILON0

SMOOTH_ONSET = 0.75
"""The smooth cutoff leaves vectors shorter than this fraction of k_max at full weight."""


def self_energy(charges: Charges, sigma: Scalar) -> Float[Array, ""]:
    r"""Energy (eV) of each smeared charge with itself.

    .. math:: E = \sum_i \frac{q_i^2}{2\epsilon_0\,\sigma\,(2\pi)^{3/2}}
    """
    return HALF_INVERSE_EPSILON0 / (sigma * (2.0 * math.pi) ** 1.5) * jnp.sum(charges**2)


def background_energy(total_charge, volume: Scalar, sigma: Scalar) -> Float[Array, ""]:
    r"""What smearing adds to the energy (eV) of a charged cell: :math:`\pi k_e\sigma^2Q^2/V`.

    Leaving k = 0 out neutralises the *smeared* charges; subtract this term from
    `ewald_energy` for the conventional uniform background of point charges.

    Args:
        total_charge: e, of the cell; several channels are summed over.
        volume: angstrom^3.
        sigma: smearing width, angstrom.
    """
    squared = jnp.sum(jnp.asarray(total_charge) ** 2)
    return math.pi * COULOMB_CONSTANT * sigma**2 * squared / volume


def reciprocal_cell(cell: Cell) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Rows b with :math:`a_i\cdot b_j = 2\pi\delta_{ij}`, 1/angstrom, and the volume.

    Either handedness is a crystal: the sign of the determinant belongs to the rows b, the
    volume is its magnitude.
    """
    first, second, third = cell
    normals = jnp.stack(
        [jnp.cross(second, third), jnp.cross(third, first), jnp.cross(first, second)]
    )
    determinant = jnp.sum(first * normals[0])
    return 2.0 * math.pi * normals / determinant, jnp.abs(determinant)


def wrapped_reduced(
    positions: Positions, cell: Cell, reciprocal: Float[Array, "3 3"]
) -> Float[Array, "atoms 3"]:
    """Coordinates along the lattice vectors, within half a cell of zero.

    Whole cells are subtracted in Cartesian space, where positions and cell are as exact as they
    were given: an atom a thousand cells away keeps its phase in float32.
    """

    def reduce(vectors):
        return jnp.matmul(vectors, reciprocal.T, precision=HIGHEST) / (2.0 * math.pi)

    cells_away = lax.stop_gradient(jnp.round(reduce(positions)))
    reduced = reduce(positions - jnp.matmul(cells_away, cell, precision=HIGHEST))
    return reduced - lax.stop_gradient(jnp.round(reduced))


def kgrid_is_too_small(grid: KGrid, cell: Cell, k_max: Scalar) -> Bool[Array, ""]:
    """Whether `grid` misses k-vectors inside the cutoff for this cell; can be traced.

    The flag of a run whose cell changes: read it after a block of steps, plan again where it is
    set. `kgrid_overflow` is the same for the host.
    """
    edges = jnp.linalg.norm(cell, axis=1)
    need = jnp.floor(k_max * edges / (2.0 * math.pi) * (1.0 + 0.5 * SPHERE_TOLERANCE))
    return jnp.any(need > jnp.array(grid, need.dtype))


def _sphere_weight(k_squared, k_max, cutoff: str):
    """1 inside the sphere and 0 outside; "smooth" falls between by a C2 polynomial of k^2."""
    if cutoff == "sharp":
        inside = lax.stop_gradient(k_squared) <= k_max**2 * (1.0 + SPHERE_TOLERANCE)
        return inside.astype(k_squared.dtype)
    onset = (SMOOTH_ONSET * k_max) ** 2
    t = jnp.clip((k_squared - onset) / (k_max**2 - onset), 0.0, 1.0)
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def _green_function(k_squared, sigma, k_max, cutoff: str):
    """exp(-sigma^2 k^2 / 2) / k^2 within the sphere; 0 outside and at k = 0."""
    is_zero = k_squared == 0.0
    safe = jnp.where(is_zero, 1.0, k_squared)
    value = jnp.exp(-0.5 * sigma**2 * safe) / safe * _sphere_weight(safe, k_max, cutoff)
    return jnp.where(is_zero, 0.0, value)


def _octant_sum(products, reciprocal, green):
    """Sum over all k of green(k^2) |S(k)|^2 from the products with indices a, b, c >= 0.

    k and -k count alike, so c >= 0 with both signs of a and b, twice, is everything; an index
    that is zero has only one sign and would be counted twice.
    """
    _, _, size_c, _, size_a, _, size_b = products.shape
    a, b, c = (
        jnp.arange(n, dtype=products.dtype).reshape(shape)
        for n, shape in ((size_a, (1, -1, 1)), (size_b, (1, 1, -1)), (size_c, (-1, 1, 1)))
    )
    once = jnp.where(a == 0, 0.5, 1.0) * jnp.where(b == 0, 0.5, 1.0) * jnp.where(c == 0, 0.5, 1.0)
    ccc, ccs, csc, css, scc, scs, ssc, sss = (
        products[:, k, :, i, :, j, :] for i in (0, 1) for j in (0, 1) for k in (0, 1)
    )
    total = jnp.zeros((), products.dtype)
    for sign_a in (1.0, -1.0):
        for sign_b in (1.0, -1.0):
            kvecs = (
                sign_a * a[..., None] * reciprocal[0]
                + sign_b * b[..., None] * reciprocal[1]
                + c[..., None] * reciprocal[2]
            )
            real = ccc - sign_a * sign_b * ssc - sign_a * scs - sign_b * css
            imaginary = ccs - sign_a * sign_b * sss + sign_a * scc + sign_b * csc
            weights = once.astype(products.dtype) * green(jnp.sum(kvecs**2, axis=-1))
            total += jnp.sum(weights * jnp.sum(real**2 + imaginary**2, axis=0))
    return 2.0 * total


def ewald_energy(
    charges: Charges,
    positions: Positions,
    cell: Cell,
    *,
    sigma: Scalar,
    k_max: Scalar,
    grid: KGrid,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    remove_self: bool = True,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""Energy (eV) of smeared charges in a periodic cell.

    .. math:: E = \frac{1}{2\epsilon_0 V} \sum_{0<|k|\le k_{max}}
        \frac{e^{-\sigma^2k^2/2}}{k^2} w(k) |S(k)|^2 - E_{self},
        \quad S(k) = \sum_i q_i e^{ik\cdot r_i}

    With cutoff "sharp", w = 1 on the closed ball: a k whose square exceeds k_max^2 by less than
    the fraction `SPHERE_TOLERANCE` is on its surface and counts. The selection carries no
    derivative, and the energy jumps where a k crosses the surface. With "smooth", w falls from
    1 at `SMOOTH_ONSET` k_max to 0 at k_max and the energy is a C2 function of the cell.

    Args:
        charges: e; (atoms,) or (atoms, channels), whose energies add up. Padding has charge 0
            and any finite position. A nonzero sum is compensated by a uniform background, see
            `background_energy`.
        positions: angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom; either handedness.
        sigma: smearing width, angstrom.
        k_max: cutoff of the sum, 1/angstrom.
        grid: static, from `plan_kgrid` for this or a larger cell. One planned for a smaller
            cell silently drops vectors: check with `kgrid_overflow` and plan again.
        cutoff: static.
        remove_self: static; subtract `self_energy`.
        chunk: static; atoms per step of the sum, for memory.

    Source: Cheng, npj Comput. Mater. 11, 80 (2025). Cost O(atoms kvecs), memory
    O(atoms + kvecs); derivatives of any order and any argument go through.
    """
    # The last axis of the products should be the longest; the order of the rows is free.
    order = sorted(range(3), key=lambda axis: grid[axis])
    grid = KGrid(*(grid[axis] for axis in order))
    cell = jnp.asarray(cell, positions.dtype)[jnp.array(order), :]
    columns = charges.reshape(charges.shape[0], -1)
    reciprocal, volume = reciprocal_cell(cell)
    reduced = wrapped_reduced(positions, cell, reciprocal)
    products = structure_products(columns, reduced, grid, chunk)
    lattice = _octant_sum(
        products, reciprocal, lambda k_squared: _green_function(k_squared, sigma, k_max, cutoff)
    )
    energy = HALF_INVERSE_EPSILON0 / volume * lattice
    return energy - self_energy(charges, sigma) if remove_self else energy
