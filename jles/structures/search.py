r"""Neighbour search on the device: static shapes, so that it runs inside compiled loops.

Along lattice vector k, planes of the cell are a height :math:`h_k` apart. Two atoms within
reach of each other differ by at most :math:`r_k = \text{reach}/h_k` in fractional coordinates.
At most :math:`\lfloor 2 r_k \rfloor + 1` images of an atom along k can therefore be neighbours
of another, in a triclinic cell and in one smaller than the reach. Small systems try these
images of all pairs; large ones those of atoms in bins nearby.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jles.products import matmul
from jles.structures.neighbors import volume_cell
from jles.structures.skin import inverse
from jles.typing import Cell, Positions

MARGIN = 1.25
"""Factor by which bins are larger than the fullest bin of the structure that was planned."""

CANDIDATES_AT_ONCE = 2**22
"""Pairs that are tested at once; they take some 40 bytes each."""


class Bins(NamedTuple):
    """Bins of a large system; static.

    Attributes:
        counts: number of bins along each direction.
        widths: of the bins along a direction that is not periodic, as a fraction of the cell;
            0 along a periodic one, where the bins divide the cell.
        rings: how many bins away a neighbour can be, along each direction.
        occupancy: slots of a bin.
    """

    counts: tuple[int, int, int]
    widths: tuple[float, float, float]
    rings: tuple[int, int, int]
    occupancy: int

    @property
    def around(self) -> Int[np.ndarray, "bins 3"]:
        """Bins where a neighbour can be, relative to that of the receiver."""
        offsets = np.indices([2 * n + 1 for n in self.rings]).reshape(3, -1).T
        return (offsets - np.array(self.rings)).astype(np.int32)


class SearchPlan(NamedTuple):
    """Static shapes of a search.

    Attributes:
        reach: distance below which atoms are neighbours, angstrom.
        pbc: three booleans.
        slots: per atom, for its neighbours.
        images: number of images that are tried along each direction, without bins.
        bins: of a large system; None to test all pairs.
    """

    reach: float
    pbc: tuple[bool, bool, bool]
    slots: int
    images: tuple[int, int, int]
    bins: Bins | None = None


class Found(NamedTuple):
    """Neighbours receiver by receiver, as in `NeighborTable`; rows are the receivers.

    Attributes:
        index: neighbour in each slot; padding slots hold the atom itself.
        shift: image of each slot, for the positions as given.
        mask: False for padding slots.
        incomplete: whether a neighbour may be missing, because the plan does not suffice.
    """

    index: Int[Array, "rows slots"]
    shift: Int[Array, "rows slots 3"]
    mask: Bool[Array, "rows slots"]
    incomplete: Bool[Array, ""]


def plan_search(
    positions,
    cell,
    pbc,
    reach: float,
    slots: int,
    *,
    margin: float = 0.0,
    binned: bool | None = None,
) -> SearchPlan:
    """Chooses the shapes of a search, on the host.

    Args:
        positions: angstrom, (atoms, 3).
        cell: rows are lattice vectors, angstrom; completed by `volume_cell`, as the cell of the
            search must be.
        pbc: three booleans.
        reach: angstrom.
        slots: per atom.
        margin: relative shrinking of the cell to leave room for.
        binned: whether to use bins; by default where there are fewer pairs to test.
    """
    positions, pbc = np.asarray(positions, np.float64), np.asarray(pbc, bool)
    cell = volume_cell(np.asarray(cell, np.float64), pbc)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0) / (1.0 + margin)
    images = np.where(pbc, np.floor(2.0 * reach / heights) + 1.0, 1.0).astype(int)
    plan = SearchPlan(float(reach), tuple(map(bool, pbc)), int(slots), _integers(images))
    bins = _plan_bins(positions, cell, pbc, reach, heights)
    in_bins = len(bins.around) * bins.occupancy
    if binned is None:
        # A search in bins also sorts its neighbours.
        binned = 2 * in_bins < len(positions) * images.prod()
    return plan._replace(bins=bins) if binned else plan


def _plan_bins(positions, cell, pbc, reach, heights) -> Bins:
    fractions = positions @ np.linalg.inv(cell)
    fractions = np.where(pbc, fractions - np.floor(fractions), fractions)
    extent = np.where(pbc, 1.0, np.ptp(fractions, axis=0))
    counts = np.maximum(np.floor(extent * heights / reach), 1).astype(int)
    # Empty space must not fill the memory with bins.
    counts = np.minimum(counts, math.ceil(len(positions) ** (1 / 3)))
    widths = np.where(pbc, 0.0, np.maximum(extent / counts, reach / heights))
    rings = np.where(pbc, np.ceil(reach * counts / heights - 1e-9), 1).astype(int)
    lowest = np.where(pbc, 0.0, fractions.min(axis=0))
    place = (fractions - lowest) / np.where(pbc, 1.0 / counts, widths)
    place = np.clip(place.astype(int), 0, counts - 1)
    fullest = np.bincount(np.ravel_multi_index(place.T, counts)).max()
    occupancy = math.ceil(MARGIN * fullest) + 2
    return Bins(_integers(counts), tuple(map(float, widths)), _integers(rings), occupancy)


def _integers(values) -> tuple[int, int, int]:
    return tuple(map(int, values))


def search(
    plan: SearchPlan,
    positions: Positions,
    cell: Cell,
    receivers: Int[Array, " rows"] | None = None,
) -> Found:
    """All neighbours closer than `plan.reach`, periodic images included; traced.

    Slots of a row are ordered by (index, shift), as those of `find_neighbors`.

    Args:
        plan: static, see `plan_search`.
        positions: angstrom; need not be wrapped.
        cell: rows are lattice vectors with a volume, also where a direction is open.
        receivers: atoms whose neighbours are searched; by default all.
    """
    places = _Places(plan, *lax.stop_gradient((positions, cell)))
    receivers = _numbers(len(positions)) if receivers is None else receivers
    count = len(receivers)
    look = _all_pairs if plan.bins is None else _in_bins
    width, collect, full = look(plan, places)
    rows = min(count, max(1, CANDIDATES_AT_ONCE // width))
    tiles = -(-count // rows)
    if tiles == 1:
        index, shift, number = collect(receivers)
    else:
        tiled = receivers[jnp.minimum(_numbers(tiles * rows), count - 1)]
        parts = lax.map(collect, tiled.reshape(tiles, rows))
        index, shift, number = (part.reshape(-1, *part.shape[2:])[:count] for part in parts)
    mask = _numbers(plan.slots) < number[:, None]
    index = jnp.where(mask, index, receivers[:, None])
    shift = shift + places.images[receivers, None, :] - places.images[index]
    shift = jnp.where(mask[..., None], shift, 0).astype(jnp.int32)
    return Found(index, shift, mask, full | places.squeezed | jnp.any(number > plan.slots))


def _numbers(count: int | np.integer) -> Int[Array, " count"]:
    """0, 1, 2 ... as 32-bit integers, also where 64-bit ones are the default."""
    return jnp.arange(count, dtype=jnp.int32)


class _Places:
    """Atoms in the cell, in fractions of it and in angstrom.

    Attributes:
        cell: rows are lattice vectors.
        fractions: in [0, 1) along periodic directions.
        images: by how many cells each atom was moved.
        wrapped: angstrom.
        reach: of the search in fractions of the cell.
        squeezed: whether the cell has become too small for the plan.
    """

    def __init__(self, plan: SearchPlan, positions, cell):
        inverted = inverse(cell)
        fractions = matmul(positions, inverted)
        pbc = jnp.array(plan.pbc)
        images = jnp.where(pbc, jnp.floor(fractions), 0.0)
        self.cell, self.fractions = cell, fractions - images
        self.images = images.astype(jnp.int32)
        self.wrapped = positions - matmul(images, cell)
        self.reach = plan.reach * jnp.linalg.norm(inverted, axis=0)
        if plan.bins is None:
            most = jnp.array(plan.images, self.reach.dtype)
            fits = ~pbc | (jnp.floor(2.0 * self.reach) < most)
        else:
            # Rounding: the plan of this very cell must fit. An open direction always does.
            sizes = plan.bins.counts, plan.bins.rings
            counts, rings = (jnp.array(size, self.reach.dtype) for size in sizes)
            fits = ~pbc | (self.reach * counts <= rings * (1.0 + 1e-6))
        self.squeezed = ~jnp.all(fits)


Collect = Callable[[Int[Array, " rows"]], tuple[Array, Array, Array]]
"""Receivers -> index (rows, slots), shift of the wrapped atoms (rows, slots, 3), number of
neighbours (rows,)."""


def _all_pairs(plan: SearchPlan, places: _Places) -> tuple[int, Collect, Array]:
    """Tests every atom, in the images along each direction that can be within reach."""
    count, tried = len(places.fractions), math.prod(plan.images)
    steps = np.indices(plan.images).reshape(3, tried).astype(places.cell.dtype)
    senders = _numbers(count)

    def collect(receivers):
        first = [_first_image(plan, places, receivers, k) for k in range(3)]
        shifts = [a[..., None] + b for a, b in zip(first, steps, strict=True)]
        squared = _squared(places, senders[None, :, None], shifts, receivers[:, None, None])
        itself = (senders == receivers[:, None])[..., None] & _all_zero(shifts)
        near = ((squared < plan.reach**2) & ~itself).reshape(len(receivers), -1)
        slot, number = _gathered(near, plan.slots)
        index = slot // tried
        shift = [
            jnp.take_along_axis(a, index, axis=1) + jnp.asarray(b)[slot % tried]
            for a, b in zip(first, steps, strict=True)
        ]
        return index, jnp.stack(shift, axis=-1).astype(jnp.int32), number

    return count * tried, collect, jnp.zeros((), bool)


def _first_image(plan, places: _Places, receivers, k: int) -> Float[Array, "rows atoms"]:
    """The lowest image of every atom along direction k that can be within reach."""
    along = places.fractions[:, k]
    difference = along - along[receivers, None]
    if not plan.pbc[k]:
        return jnp.zeros_like(difference)
    return jnp.ceil(-places.reach[k] - difference)


def _in_bins(plan: SearchPlan, places: _Places) -> tuple[int, Collect, Array]:
    """Tests the atoms in bins around that of the receiver."""
    bins, pbc = plan.bins, np.array(plan.pbc)
    counts, around = np.array(bins.counts, np.int32), bins.around
    home, table, full = _fill(plan, places)
    count, width = len(home), len(around) * bins.occupancy
    offset = jnp.repeat(_numbers(len(around)), bins.occupancy)

    def crossed(there):
        return jnp.where(pbc, there // counts, 0)

    def collect(receivers):
        there = home[receivers, None, :] + around
        inside = jnp.all(pbc | ((there >= 0) & (there < counts)), axis=-1)
        bin_ = jnp.where(pbc, there % counts, jnp.clip(there, 0, counts - 1))
        found = jnp.where(inside[..., None], table[_number(bin_, counts)], count)
        moved = crossed(there).astype(places.cell.dtype)
        shifts = [jnp.repeat(moved[..., k], bins.occupancy, axis=1) for k in range(3)]
        found = found.reshape(len(receivers), width)
        senders = jnp.minimum(found, count - 1)
        squared = _squared(places, senders, shifts, receivers[:, None])
        itself = (senders == receivers[:, None]) & _all_zero(shifts)
        near = (squared < plan.reach**2) & ~itself & (found < count)
        slot, number = _gathered(near, plan.slots)
        # Images of one atom lie in the order of the bins around.
        key = jnp.take_along_axis(senders, slot, axis=1) * len(around) + offset[slot]
        filled = _numbers(plan.slots) < number[:, None]
        key = jnp.sort(jnp.where(filled, key, count * len(around) - 1), axis=1)
        shift = crossed(home[receivers, None, :] + jnp.asarray(around)[key % len(around)])
        return key // len(around), shift, number

    return width, collect, full


def _fill(plan: SearchPlan, places: _Places) -> tuple[Array, Array, Array]:
    """The bin of every atom, (atoms, 3); the atoms in every bin; whether a bin is too small."""
    bins, count, pbc = plan.bins, len(places.fractions), np.array(plan.pbc)
    counts = np.array(bins.counts, np.int32)
    lowest = jnp.where(pbc, 0.0, jnp.min(places.fractions, axis=0))
    widths = np.where(pbc, 1.0 / counts, bins.widths).astype(lowest.dtype)
    home = jnp.floor((places.fractions - lowest) / widths).astype(jnp.int32)
    # Clamping atoms beyond the last bin brings no two of them farther apart.
    home = jnp.clip(home, 0, counts - 1)
    number = _number(home, counts)
    order = jnp.argsort(number, stable=True)
    ordered = number[order]
    first = jnp.searchsorted(ordered, _numbers(math.prod(bins.counts))).astype(jnp.int32)
    rank = _numbers(count) - first[ordered]
    table = jnp.full((counts.prod(), bins.occupancy), count, jnp.int32)
    table = table.at[ordered, rank].set(order.astype(jnp.int32), mode="drop")
    return home, table, jnp.max(rank) >= bins.occupancy


def _number(bin_, counts):
    return (bin_[..., 0] * counts[1] + bin_[..., 1]) * counts[2] + bin_[..., 2]


def _squared(places: _Places, senders, shifts, receivers):
    """Squared distances of pairs, the sender in an image, angstrom^2."""
    total = 0.0
    for k in range(3):
        along = places.wrapped[:, k]
        moved = sum(shift * places.cell[n, k] for n, shift in enumerate(shifts))
        total += (along[senders] + moved - along[receivers]) ** 2
    return total


def _all_zero(shifts):
    return (shifts[0] == 0) & (shifts[1] == 0) & (shifts[2] == 0)


def _gathered(near: Bool[Array, "rows width"], slots: int) -> tuple[Array, Array]:
    """In every row the places of the first True entries, and their number.

    Collecting all entries in one list is on a CPU the fastest of six ways to do this.
    """
    rows, width = near.shape
    number = jnp.sum(near, axis=1, dtype=jnp.int32)
    flat = jnp.nonzero(near.reshape(-1), size=rows * slots, fill_value=0)[0].astype(jnp.int32)
    first = jnp.cumsum(number) - number
    at = first[:, None] + _numbers(slots)
    return flat[jnp.minimum(at, rows * slots - 1)] % width, number


search_jit = jax.jit(search, static_argnums=0)
"""`search`, compiled."""


def host_is_faster(plan: SearchPlan) -> bool:
    """Whether `find_neighbors` on the host takes less time than a search on the device.

    On an accelerator the way to the host is the longer one. On a CPU (2026-11-29, two cores,
    reach 6 angstrom, CPU time with the table) the device took 1.1 ms for 192 atoms of water, 25
    ms for 1,536 and 600 ms for 12,288 in bins; the host 3.0, 22 and 210 ms.
    """
    return plan.bins is not None and jax.default_backend() == "cpu"
