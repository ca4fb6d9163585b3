"""The reciprocal lattice sum of smeared charges (docs/conventions.md, section 2)."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jles.electrostatics.multipoles import (
    Multipoles,
    as_multipoles,
    channels_first,
    self_energy,
)
from jles.electrostatics.sums.kgrid import SPHERE_TOLERANCE, KGrid
from jles.electrostatics.sums.structure_factor import (
    PhaseTables,
    choose_chunk,
    phase_tables,
    structure_products,
)
from jles.electrostatics.sums.table_products import reduce_moments
from jles.meshes import any_mesh
from jles.products import matmul
from jles.typing import Cell, Charges, Positions, Scalar
from jles.units import HALF_INVERSE_EPSILON0

_SIGNS = (1.0, -1.0)

SMOOTH_ONSET = 0.75
"""The smooth cutoff leaves vectors shorter than this fraction of k_max at full weight."""


def cell_normals(cell: Cell) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Rows n with :math:`a_i\cdot n_j = \delta_{ij}\det a`, angstrom^2, and the determinant.

    Divided by the determinant they are the columns of the inverse, without the linear solver,
    which takes long on an accelerator.
    """
    first, second, third = cell
    normals = jnp.stack(
        [jnp.cross(second, third), jnp.cross(third, first), jnp.cross(first, second)]
    )
    return normals, jnp.sum(first * normals[0])


def reciprocal_cell(cell: Cell) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Rows b with :math:`a_i\cdot b_j = 2\pi\delta_{ij}`, 1/angstrom, and the volume.

    The cell may be left-handed: the volume is the magnitude of the determinant.
    """
    normals, determinant = cell_normals(cell)
    return 2.0 * math.pi * normals / determinant, jnp.abs(determinant)


def wrapped_reduced(
    positions: Positions, cell: Cell, reciprocal: Float[Array, "3 3"]
) -> Float[Array, "atoms 3"]:
    """Coordinates along the lattice vectors, within half a cell of zero.

    Whole cells are subtracted in Cartesian space, where no digits have been lost yet: an atom a
    thousand cells away keeps its phase in float32.
    """

    def reduce(vectors):
        return matmul(vectors, reciprocal.T) / (2.0 * math.pi)

    cells_away = lax.stop_gradient(jnp.round(reduce(positions)))
    reduced = reduce(positions - matmul(cells_away, cell))
    return reduced - lax.stop_gradient(jnp.round(reduced))


def kgrid_is_too_small(grid: KGrid, cell: Cell, k_max: Scalar) -> Bool[Array, ""]:
    """Whether `grid` misses k-vectors inside the cutoff for this cell; can be traced.

    A run whose cell changes reads this flag after a block of steps, and plans again if it is
    set. `kgrid_overflow` is the same on the host.
    """
    edges = jnp.linalg.norm(cell, axis=1)
    need = jnp.floor(k_max * edges / (2.0 * math.pi) * (1.0 + 0.5 * SPHERE_TOLERANCE))
    return jnp.any(need > jnp.array(grid, need.dtype))


def _sphere_weight(k_squared, k_max, cutoff: str):
    """1 inside the sphere and 0 outside; "smooth" has a C2 polynomial of k^2 in between."""
    if cutoff == "sharp":
        inside = lax.stop_gradient(k_squared) <= k_max**2 * (1.0 + SPHERE_TOLERANCE)
        return inside.astype(k_squared.dtype)
    onset = (SMOOTH_ONSET * k_max) ** 2
    t = jnp.clip((k_squared - onset) / (k_max**2 - onset), 0.0, 1.0)
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def green_function(k_squared, sigma: Scalar, k_max: Scalar, cutoff: str):
    """exp(-sigma^2 k^2 / 2) / k^2 within the sphere; 0 outside and at k = 0."""
    is_zero = k_squared == 0.0
    safe = jnp.where(is_zero, 1.0, k_squared)
    value = jnp.exp(-0.5 * sigma**2 * safe) / safe * _sphere_weight(safe, k_max, cutoff)
    return jnp.where(is_zero, 0.0, value)


def reciprocal_weight(k_squared, sigma: Scalar, k_max: Scalar, cutoff: str, slope: bool):
    """The Green function, or with `slope` its derivative with respect to k^2."""

    def green(squared):
        return green_function(squared, sigma, k_max, cutoff)

    if not slope:
        return green(k_squared)
    return jax.jvp(green, (k_squared,), (jnp.ones_like(k_squared),))[1]


class EwaldSum(NamedTuple):
    """The part of the reciprocal sum that does not depend on the moments, for reuse."""

    frame: Float[Array, "3 3"]
    tables: PhaseTables
    weights: Float[Array, "sign_x sign_y z x y"]


def prepare_ewald(
    positions: Positions,
    cell: Cell,
    *,
    sigma: Scalar,
    k_max: Scalar,
    grid: KGrid,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    chunk: int | None = None,
    slope: bool = False,
) -> EwaldSum:
    """Phase tables and Green function of the sum; arguments as in `ewald_energy`.

    With `slope` the Green function is replaced by its derivative with respect to k^2.
    """
    cell = jnp.asarray(cell, sum_dtype(positions))
    frame, tables = ewald_tables(positions, cell, grid, chunk)
    options = {"sigma": sigma, "k_max": k_max, "cutoff": cutoff, "slope": slope}
    return EwaldSum(frame, tables, ewald_weights(cell, grid, **options))


def ewald_tables(
    positions: Positions, cell: Cell, grid: KGrid, chunk: int | None = None
) -> tuple[Float[Array, "3 3"], PhaseTables]:
    """The frame that moments are reduced to, and the phase tables of the atoms."""
    cell, grid = _longest_last(jnp.asarray(cell, sum_dtype(positions)), grid)
    reciprocal, _ = reciprocal_cell(cell)
    reduced = wrapped_reduced(positions, cell, reciprocal)
    tables = phase_tables(reduced, grid, chunk or choose_chunk(grid))
    return reciprocal.T / (2.0 * math.pi), tables


def ewald_weights(
    cell: Cell,
    grid: KGrid,
    *,
    sigma: Scalar,
    k_max: Scalar,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    slope: bool = False,
) -> Float[Array, "sign_x sign_y z x y"]:
    """Weights of the squared structure factor, eV/e^2, by octant; see `ewald_energy`."""

    def green(k_squared):
        return reciprocal_weight(k_squared, sigma, k_max, cutoff, slope)

    cell, grid = _longest_last(cell, grid)
    reciprocal, volume = reciprocal_cell(cell)
    return HALF_INVERSE_EPSILON0 / volume * _octant_weights(reciprocal, grid, green)


def sum_dtype(array: Array):
    """The type of numbers in which arrays are summed: float32 at least."""
    return jnp.promote_types(array.dtype, jnp.float32)


def _longest_last(cell, grid: KGrid):
    """Lattice vectors and grid in the order of the tables.

    The last axis of the products should be the longest; the order of the rows is free.
    """
    order = sorted(range(3), key=lambda axis: grid[axis])
    return cell[jnp.array(order), :], KGrid(*(grid[axis] for axis in order))


def reciprocal_energy(ewald: EwaldSum, moments: Multipoles) -> Float[Array, ""]:
    """Energy (eV), self-interaction included: a quadratic form of the moments."""
    reduced = reduce_moments(channels_first(moments), ewald.frame)
    return squared_sum(structure_products(reduced, ewald.tables), ewald.weights)


def _octant_weights(reciprocal, grid, green):
    """green(k^2) at (+-a, +-b, c), a, b, c >= 0, times the multiplicity of k.

    k and -k contribute equally, so c >= 0 with both signs of a and b counts twice. An index
    that is zero has one sign only, and is halved.
    """
    a, b, c = (
        jnp.arange(n + 1, dtype=reciprocal.dtype).reshape(shape)
        for n, shape in zip(grid, ((1, -1, 1), (1, 1, -1), (-1, 1, 1)), strict=True)
    )
    once = 1.0
    for index in (a, b, c):
        once = once * jnp.where(index == 0, jnp.asarray(0.5, index.dtype), 1.0)

    # Axes of k: sign of a, sign of b, c, a, b, Cartesian component.
    signs = jnp.array(_SIGNS, reciprocal.dtype)
    k = (
        signs.reshape(-1, 1, 1, 1, 1, 1) * a[..., None] * reciprocal[0]
        + signs.reshape(-1, 1, 1, 1, 1) * b[..., None] * reciprocal[1]
        + c[..., None] * reciprocal[2]
    )
    return 2.0 * once * green(jnp.sum(k**2, axis=-1))


def squared_sum(
    products: Float[Array, "channels two z two x two y"],
    weights: Float[Array, "sign_x sign_y z x y"],
) -> Float[Array, ""]:
    """Sum over all k of weight |S(k)|^2 from the products with indices a, b, c >= 0."""
    ccc, ccs, csc, css, scc, scs, ssc, sss = (
        products[:, k, :, i, :, j, :] for i in (0, 1) for j in (0, 1) for k in (0, 1)
    )
    total = jnp.zeros((), products.dtype)
    for n, sign_a in enumerate(_SIGNS):
        for m, sign_b in enumerate(_SIGNS):
            real = ccc - sign_a * sign_b * ssc - sign_a * scs - sign_b * css
            imaginary = ccs - sign_a * sign_b * sss + sign_a * scc + sign_b * csc
            total += jnp.sum(weights[n, m] * jnp.sum(real**2 + imaginary**2, axis=0))
    return total


@any_mesh()
def ewald_energy(
    moments: Multipoles | Charges,
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
    r"""Energy (eV) of smeared multipoles in a periodic cell.

    .. math:: E = \frac{1}{2\epsilon_0 V} \sum_{0<|k|\le k_{max}}
        \frac{e^{-\sigma^2k^2/2}}{k^2} w(k) |S(k)|^2 - E_{self},
        \quad S(k) = \sum_i \left[q_i + i k\cdot u_i - \tfrac12 k\cdot Q_i\cdot k\right]
        e^{ik\cdot r_i}

    With cutoff "sharp", w = 1 on the closed ball. A k whose square exceeds k_max^2 by less than
    the fraction `SPHERE_TOLERANCE` counts as on its surface. The selection has no derivative,
    and the energy jumps when a k crosses the surface. With "smooth", w falls from 1 at
    `SMOOTH_ONSET` k_max to 0 at k_max, and the energy is a C2 function of the cell.

    Args:
        moments: `Multipoles`, or charges alone (e): (atoms,) or (atoms, channels), whose
            energies add up. Padding has moments 0 and any finite position. A nonzero total
            charge is compensated by a uniform background, see `background_energy`.
        positions: angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom; either handedness.
        sigma: smearing width, angstrom.
        k_max: cutoff of the sum, 1/angstrom.
        grid: static, from `plan_kgrid` for this or a larger cell. A grid planned for a smaller
            cell misses vectors without an error: check with `kgrid_overflow` and plan again.
        cutoff: static.
        remove_self: static; subtract `self_energy`.
        chunk: static; atoms per step of the sum, for memory.

    Source: Cheng, npj Comput. Mater. 11, 80 (2025); multipoles: Kim et al., arXiv 2605.05746
    (2026). Cost O(atoms kvecs), memory O(atoms + kvecs). It can be differentiated to any order
    with respect to any argument.

    Example: the sum for charges, written as the equation is, gives the same energy.

        >>> import itertools
        >>> import numpy as np
        >>> from jles.electrostatics.sums.kgrid import plan_kgrid
        >>> charges, sigma, k_max = np.array([0.5, -0.8, 0.3]), 1.0, 3.0
        >>> positions = np.array([[0.0, 0.1, 0.2], [1.0, 1.5, 0.3], [2.0, 0.4, 2.9]])
        >>> cell = np.array([[4.0, 0.0, 0.0], [0.5, 4.2, 0.0], [0.0, -0.3, 3.9]])
        >>> reciprocal = 2.0 * np.pi * np.linalg.inv(cell).T
        >>> k = np.array(list(itertools.product(range(-4, 5), repeat=3))) @ reciprocal
        >>> k_squared = np.sum(k**2, axis=1)
        >>> inside = (k_squared > 0.0) & (k_squared <= k_max**2)
        >>> k, k_squared = k[inside], k_squared[inside]
        >>> structure_factor = charges @ np.exp(1j * positions @ k.T)
        >>> terms = np.exp(-(sigma**2) * k_squared / 2) / k_squared * abs(structure_factor) ** 2
        >>> energy = HALF_INVERSE_EPSILON0 / np.linalg.det(cell) * np.sum(terms)
        >>> options = {"sigma": sigma, "k_max": k_max, "grid": plan_kgrid(cell, k_max)}
        >>> arrays = map(jnp.asarray, (charges, positions, cell))
        >>> bool(np.isclose(ewald_energy(*arrays, **options, remove_self=False), energy))
        True
    """
    moments = as_multipoles(moments)
    ewald = prepare_ewald(
        positions,
        cell,
        sigma=sigma,
        k_max=k_max,
        grid=grid,
        cutoff=cutoff,
        chunk=chunk,
    )
    energy = reciprocal_energy(ewald, moments)
    return energy - self_energy(moments, sigma) if remove_self else energy
