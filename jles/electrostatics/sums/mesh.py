r"""Smooth particle mesh: the reciprocal sum by interpolation on a mesh and a Fourier transform.

Source: Essmann et al., J. Chem. Phys. 103, 8577 (1995), here without a real-space part. Moments
are spread by matrix products instead of scatters: atoms are sorted into blocks of the mesh and
grouped into tiles of a few atoms of one block. The splines of a tile are tabulated on the whole
window of its block (`table_products`), and windows are added where they overlap. CPUs and
accelerators multiply zeros faster than they scatter numbers.
"""

import math
from functools import lru_cache, partial
from numbers import Real
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jles.electrostatics.multipoles import (
    Multipoles,
    as_multipoles,
    channels_first,
    self_energy,
)
from jles.electrostatics.sums.chunks import in_chunks, split, zero_sum
from jles.electrostatics.sums.ewald import (
    reciprocal_cell,
    reciprocal_weight,
    sum_dtype,
    wrapped_reduced,
)
from jles.electrostatics.sums.kgrid import plan_kgrid
from jles.electrostatics.sums.splines import spline_gains, spline_table
from jles.electrostatics.sums.table_products import (
    ReducedMoments,
    reduce_moments,
    table_product,
)
from jles.errors import InputError
from jles.meshes import any_mesh
from jles.step_sizes import step_sizes
from jles.typing import Cell, Charges, Positions, Scalar
from jles.units import HALF_INVERSE_EPSILON0

BLOCK = 8
"""Mesh points along each edge of a block."""

TILE = 8
"""Atoms per tile."""


class MeshPlan(NamedTuple):
    """Static: points of the mesh along each lattice vector, and the order of the splines."""

    n_a: int
    n_b: int
    n_c: int
    order: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Points along each lattice vector, multiples of `BLOCK`."""
        return self[:3]

    @property
    def window(self) -> int:
        """Points that an atom of a block can reach along an axis."""
        return BLOCK + self.order - 1


def plan_mesh(
    cell,
    k_max: float,
    *,
    sigma: float = 1.0,
    accuracy: float = 1e-4,
    rank: int = 0,
    margin: float = 0.0,
) -> MeshPlan:
    r"""The smallest mesh whose forces have a given relative error.

    That is the root mean square error over the root mean square force. An interpolated wave of
    wavevector k carries aliases of relative size :math:`(x/(1-x))^{p-l}`, :math:`x = kh/2\pi`,
    for mesh step h, spline order p and multipoles of rank l. Their weight is
    :math:`k^l e^{-\sigma^2k^2/4}`. Measured errors are half of this estimate for charges, and a
    hundredth for quadrupoles on coarse meshes. An exponent smaller by one half underestimates
    them.

    Args:
        cell: rows are lattice vectors, angstrom, (3, 3).
        k_max: cutoff of the sum, 1/angstrom.
        sigma: smearing width, angstrom.
        accuracy: relative error of the forces, down to 1e-10.
        rank: 0 for charges, 1 with dipoles, 2 with quadrupoles.
        margin: relative growth of the cell edges to leave room for, e.g. 0.1 for NPT runs.

    Raises:
        InputError: what `plan_kgrid` refuses, or an accuracy out of range.
    """
    grid = plan_kgrid(cell, k_max, margin)
    order, ratio = points_per_wavevector(k_max, sigma, accuracy, rank)
    edges = np.linalg.norm(np.asarray(cell, np.float64), axis=1) * (1.0 + margin)
    needed = ratio * k_max * edges / (2.0 * math.pi)
    needed = np.maximum(needed, 2 * np.array(grid) + 2)
    return MeshPlan(*(fast_size(n) for n in needed), order)


def check_accuracy(accuracy) -> None:
    """Refuses an accuracy out of the range of `plan_mesh`."""
    if not (isinstance(accuracy, Real) and 1e-10 <= accuracy < 0.1):
        shown = " ".join(repr(accuracy).split())
        raise InputError(f"accuracy must lie between 1e-10 and 0.1, got {shown}")


@lru_cache
def points_per_wavevector(
    k_max: float, sigma: float, accuracy: float, rank: int
) -> tuple[int, float]:
    """Spline order, and mesh points per wavevector index of the sphere, for an accuracy.

    Arguments and errors as in `plan_mesh`.
    """
    check_accuracy(accuracy)
    order = 6 if accuracy > 3e-4 and rank == 0 else 8 if accuracy > 1e-7 else 9
    k = np.linspace(0.02, 1.0, 50) * k_max
    exponent = rank * np.log(k) - 0.25 * (sigma * k) ** 2
    weight = np.exp(exponent - exponent.max())

    def error(points_per_k):
        x = (k / k_max) / points_per_k
        return np.max(weight * (x / (1.0 - x)) ** (order - rank))

    return order, float(next(r for r in np.geomspace(2.05, 64.0, 400) if error(r) <= accuracy))


def fast_size(needed: float) -> int:
    """The next multiple of a block with no prime factor above 7."""
    size = BLOCK * math.ceil(needed / BLOCK)
    while not _is_smooth(size):
        size += BLOCK
    return size


def _is_smooth(size: int) -> bool:
    for prime in (2, 3, 5, 7):
        while size % prime == 0:
            size //= prime
    return size == 1


def mesh_is_too_small(plan: MeshPlan, cell, k_max: float) -> bool:
    """Whether the mesh misses k-vectors of the cell, which needs a new plan then."""
    grid = plan_kgrid(cell, k_max)
    return any(size < 2 * n + 2 for size, n in zip(plan.sizes, grid, strict=True))


class MeshTiles(NamedTuple):
    """Atoms in tiles: the part of the spreading that does not depend on the moments.

    Attributes:
        frame: to which moments are reduced.
        places: of the atoms in the window of their block, in mesh steps.
        atoms: of each tile; one past the last atom in empty places.
        blocks: the block of each tile.
    """

    frame: Float[Array, "3 3"]
    places: Float[Array, "tiles tile 3"]
    atoms: Int[Array, "tiles tile"]
    blocks: Int[Array, " tiles"]


class MeshSum(NamedTuple):
    """The part of the sum that does not depend on the moments, for reuse."""

    tiles: MeshTiles
    weights: Float[Array, "n_a n_b half_c"]


def prepare_mesh(
    positions: Positions,
    cell: Cell,
    *,
    sigma: Scalar,
    k_max: Scalar,
    plan: MeshPlan,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    slope: bool = False,
) -> MeshSum:
    """Tiles of atoms and Green function; arguments as in `pme_energy`.

    With `slope` the Green function is replaced by its derivative with respect to k^2.
    """
    cell = jnp.asarray(cell, sum_dtype(positions))
    options = {"sigma": sigma, "k_max": k_max, "cutoff": cutoff, "slope": slope}
    return MeshSum(mesh_tiles(positions, cell, plan), mesh_weights(cell, plan, **options))


def mesh_tiles(positions: Positions, cell: Cell, plan: MeshPlan) -> MeshTiles:
    """The atoms sorted into tiles, for `mesh_density`."""
    dtype = sum_dtype(positions)
    cell = jnp.asarray(cell, dtype)
    reciprocal, _ = reciprocal_cell(cell)
    sizes = jnp.array(plan.sizes)
    reduced = wrapped_reduced(positions, cell, reciprocal)
    mesh = (reduced - lax.stop_gradient(jnp.floor(reduced))) * sizes.astype(dtype)
    # Rounding may put an atom on the far edge, which belongs to the next cell.
    block = jnp.clip(lax.stop_gradient(mesh).astype(int), 0, sizes - 1) // BLOCK
    local = mesh - (BLOCK * block).astype(dtype)
    n_blocks = [n // BLOCK for n in plan.sizes]
    flat = (block[:, 0] * n_blocks[1] + block[:, 1]) * n_blocks[2] + block[:, 2]
    atoms, blocks = _tiles(flat, math.prod(n_blocks))
    # The empty places of a tile point one past the last atom.
    padded = jnp.pad(local, ((0, 1), (0, 0)))
    frame = reciprocal.T / (2.0 * math.pi) * sizes.astype(dtype)
    return MeshTiles(frame, padded[atoms] + (plan.order - 1), atoms, blocks)


def mesh_weights(
    cell: Cell,
    plan: MeshPlan,
    *,
    sigma: Scalar,
    k_max: Scalar,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    slope: bool = False,
) -> Float[Array, "n_a n_b half_c"]:
    """Weights of the squared Fourier coefficients of the mesh, eV/e^2; see `pme_energy`."""
    reciprocal, volume = reciprocal_cell(cell)
    green = reciprocal_weight(
        _squared_wavevectors(reciprocal, plan), sigma, k_max, cutoff, slope
    )
    return HALF_INVERSE_EPSILON0 / volume * green * _spline_weights(plan, cell.dtype)


def mesh_density(
    tiles: MeshTiles, moments: Multipoles, plan: MeshPlan
) -> Float[Array, "channels n_a n_b n_c"]:
    """Moments of the atoms spread on the mesh with B-splines."""
    reduced = reduce_moments(channels_first(moments), tiles.frame)
    return jnp.stack(
        [
            _spread(jax.tree.map(lambda array, n=channel: array[n], reduced), tiles, plan)
            for channel in range(reduced.charges.shape[0])
        ]
    )


def density_energy(
    density: Float[Array, "channels n_a n_b n_c"], weights: Float[Array, "n_a n_b half_c"]
) -> Float[Array, ""]:
    """Energy (eV) of the density on the mesh, self-interaction included."""
    total = jnp.zeros((), weights.dtype)
    for one in density:
        waves = jnp.fft.rfftn(one)
        total += jnp.sum(weights * (waves.real**2 + waves.imag**2))
    return total


def mesh_energy(mesh: MeshSum, moments: Multipoles, plan: MeshPlan) -> Float[Array, ""]:
    """Energy (eV), self-interaction included: a quadratic form of the moments."""
    return density_energy(mesh_density(mesh.tiles, moments, plan), mesh.weights)


@any_mesh()
def pme_energy(
    moments: Multipoles | Charges,
    positions: Positions,
    cell: Cell,
    *,
    sigma: Scalar,
    k_max: Scalar,
    plan: MeshPlan,
    cutoff: Literal["sharp", "smooth"] = "sharp",
    remove_self: bool = True,
) -> Float[Array, ""]:
    """The energy (eV) of `ewald_energy`, to the accuracy of `plan`, in O(atoms log atoms).

    Args:
        moments: as for `ewald_energy`.
        positions: angstrom; need not be wrapped.
        cell: rows are lattice vectors, angstrom; either handedness.
        sigma: smearing width, angstrom.
        k_max: cutoff of the sum, 1/angstrom; the same k-vectors count as in the direct sum.
        plan: static, from `plan_mesh` for this or a larger cell, see `mesh_is_too_small`.
        cutoff: static.
        remove_self: static; subtract `self_energy`, which interpolation reproduces to the
            accuracy of the plan.
    """
    moments = as_multipoles(moments)
    mesh = prepare_mesh(positions, cell, sigma=sigma, k_max=k_max, plan=plan, cutoff=cutoff)
    energy = mesh_energy(mesh, moments, plan)
    return energy - self_energy(moments, sigma) if remove_self else energy


def _tiles(block: Int[Array, " atoms"], n_blocks: int):
    """Atoms of each tile and its block, for any distribution of the atoms."""
    count = block.shape[0]
    # Every block that holds an atom may need one tile that is not full.
    n_tiles = -(-count // TILE) + (min(n_blocks, count) if isinstance(count, int) else n_blocks)
    order = jnp.argsort(block)
    sorted_block = block[order]
    atoms_in = jnp.bincount(block, length=n_blocks)
    tiles_in = -(-atoms_in // TILE)
    first_atom, first_tile = (jnp.cumsum(n) - n for n in (atoms_in, tiles_in))
    rank = jnp.arange(count) - first_atom[sorted_block]
    tile = first_tile[sorted_block] + rank // TILE
    atoms = jnp.full((n_tiles, TILE), count).at[tile, rank % TILE].set(order)
    return atoms, jnp.zeros(n_tiles, int).at[tile].set(sorted_block)


def _squared_wavevectors(reciprocal, plan: MeshPlan):
    indices = [np.fft.fftfreq(n, 1.0 / n) for n in plan.sizes[:2]]
    indices.append(np.arange(plan.n_c // 2 + 1))
    a, b, c = (
        jnp.asarray(index, reciprocal.dtype).reshape(shape)
        for index, shape in zip(
            indices, ((-1, 1, 1, 1), (1, -1, 1, 1), (1, 1, -1, 1)), strict=True
        )
    )
    return jnp.sum((a * reciprocal[0] + b * reciprocal[1] + c * reciprocal[2]) ** 2, axis=-1)


def _spline_weights(plan: MeshPlan, dtype):
    """Inverse damping by the splines; k and -k share an entry unless c = 0 or c = n / 2."""
    gains = [spline_gains(plan.order, n) for n in plan.sizes]
    # At the end of the band the gain of an odd spline is zero. No wave of the sphere is there,
    # and the product of the inverses would overflow in float32.
    a, b, c = (np.where(gain > 1e-9, 1.0 / np.maximum(gain, 1e-9), 0.0) for gain in gains)
    half = c[: plan.n_c // 2 + 1]
    twice = np.where((np.arange(len(half)) % (plan.n_c // 2)) == 0, 1.0, 2.0)
    return jnp.asarray(a[:, None, None] * b[:, None] * (half * twice), dtype)


def _spread(moments: ReducedMoments, mesh: MeshTiles, plan: MeshPlan):
    """The mesh (n_a, n_b, n_c) of one channel."""
    n_blocks = [n // BLOCK for n in plan.sizes]
    chunks = split(mesh.blocks.shape[0], step_sizes().mesh_tiles)

    def of_tiles(array):
        padded = jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, 1)])
        return jnp.moveaxis(padded, -1, 0)[mesh.atoms]

    tiles = jax.tree.map(lambda array: in_chunks(of_tiles(array), chunks), moments)
    places, blocks = in_chunks(mesh.places, chunks), in_chunks(mesh.blocks, chunks)
    windows_of = jax.checkpoint(partial(_windows, plan=plan))

    def add_step(total, step):
        tiles, places, blocks = step
        # The windows of a row of blocks along c overlap in one line.
        row, first = blocks // n_blocks[2], BLOCK * (blocks % n_blocks[2])
        points = first[:, None] + jnp.arange(plan.window)
        return total.at[row[:, None], points].add(windows_of(tiles, places)), None

    halo = plan.window - BLOCK
    shape = (n_blocks[0] * n_blocks[1], plan.n_c + halo, plan.window, plan.window)
    start = zero_sum(shape, mesh.frame.dtype, tiles, places)
    if chunks.is_one:
        lines, _ = add_step(start, jax.tree.map(lambda a: a[0], (tiles, places, blocks)))
    else:
        lines, _ = lax.scan(add_step, start, (tiles, places, blocks))
    # A line begins `halo` points before the cell.
    lines = lines[:, halo:].at[:, -halo:].add(lines[:, :halo])
    # Axes are (blocks a, blocks b, points c, a, b).
    windows = lines.reshape(*n_blocks[:2], *lines.shape[1:])
    windows = _overlap_add(_overlap_add(windows, 0, 3), 1, 4)
    return jnp.transpose(windows, (0, 3, 1, 4, 2)).reshape(plan.sizes)


def _windows(tiles: ReducedMoments, places, plan: MeshPlan):
    """The moments of some tiles, spread on the windows of their blocks, (tiles, c, a, b)."""

    def tables_of(start):
        tables = (
            spline_table(plan.order, start, plan.window, n) for n in range(tiles.order + 1)
        )
        return tuple(jnp.swapaxes(table, 0, 1) for table in tables)

    # A loop over the axes keeps the tables apart from the products. Otherwise the compiler
    # computes them again for every element of a plane.
    tables = lax.map(tables_of, jnp.moveaxis(places, -1, 0))

    def of_tile(tile: ReducedMoments, tables):
        moments = jax.tree.map(lambda array: jnp.moveaxis(array, 0, -1), tile)
        return table_product(moments, *([table[d] for table in tables] for d in range(3)))

    return jax.vmap(of_tile, (0, 1))(tiles, tables)


def _overlap_add(windows, axis: int, window_axis: int):
    """Adds the first points of each window to the previous block, and keeps `BLOCK` points."""
    halo = windows.shape[window_axis] - BLOCK
    before, own = jnp.split(windows, [halo], axis=window_axis)
    padding = [(0, 0)] * windows.ndim
    padding[window_axis] = (BLOCK - halo, 0)
    return own + jnp.roll(jnp.pad(before, padding), -1, axis=axis)
