r"""The hysteresis loop P(E) in a cycled field: coercive fields, remanences and area.

P/V and E are projected on the direction of the field. The loop is cut where the field turns,
and halves that reach from one extreme of the field to the other are kept. The polarization of a
crystal has no absolute zero, so the mean of its values at the two extremes is subtracted: an
imprint then shows in the coercive fields and not in the polarization.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jles.analysis.estimators.units import ENERGY_DENSITY, POLARIZATION
from jles.errors import InputError

_BINS = 101
"""Bins of the field; odd, so that the middle one is centred on zero."""


_FULL = 0.98
"""A half loop is complete if it starts and ends beyond this fraction of the extremes."""


class Loop(NamedTuple):
    """Half loops and what is read from them; NaN where a half does not cross zero."""

    field: Float[np.ndarray, " bins"]
    """V/angstrom"""
    falling: Float[np.ndarray, "halves bins"]
    """Polarization in a falling field, microC/cm^2."""
    rising: Float[np.ndarray, "halves bins"]
    coercive_falling: Float[np.ndarray, " halves"]
    """Field at which the falling half crosses zero, V/angstrom."""
    coercive_rising: Float[np.ndarray, " halves"]
    remanent_falling: Float[np.ndarray, " halves"]
    """Polarization at zero field in a falling field, microC/cm^2."""
    remanent_rising: Float[np.ndarray, " halves"]
    areas: Float[np.ndarray, " cycles"]
    """Energy dissipated in a cycle, J/cm^3."""


def field_axis(field: Float[np.ndarray, "frames 3"]) -> Float[np.ndarray, " 3"]:
    """Unit vector of the field, its largest component positive.

    Raises:
        InputError: there is no field, or its direction changes.
    """
    _, sizes, rows = np.linalg.svd(field, full_matrices=False)
    if not sizes[0] > 0.0:
        raise InputError(
            "the field is zero throughout; a loop needs `field: {kind: cycle, ...}`"
        )
    if sizes[1] > 1e-3 * sizes[0]:
        raise InputError("the direction of the field changes; a loop needs one direction")
    axis = rows[0]
    return axis * np.sign(axis[np.argmax(np.abs(axis))])


def turning_points(field: Float[np.ndarray, " frames"]) -> Int[np.ndarray, " turns"]:
    """Frames where the field turns (the last of a plateau), and the first and last frame."""
    moves = np.flatnonzero(np.diff(field) != 0.0)
    signs = np.sign(np.diff(field)[moves])
    turns = moves[1:][signs[1:] != signs[:-1]]
    return np.unique(np.concatenate([[0], turns, [len(field) - 1]]))


def full_halves(field: Float[np.ndarray, " frames"]) -> list[slice]:
    """Intervals from one extreme of the field to the other, in order."""
    turns = turning_points(field)
    top, bottom = _FULL * np.max(field), _FULL * np.min(field)
    halves = []
    for first, last in zip(turns[:-1], turns[1:], strict=True):
        ends = sorted((field[first], field[last]))
        if bottom < 0.0 < top and ends[0] <= bottom and ends[1] >= top:
            halves.append(slice(int(first), int(last) + 1))
    return halves


def hysteresis_loop(
    field: Float[np.ndarray, " frames"], polarization: Float[np.ndarray, " frames"]
) -> Loop:
    """The loop of a field (V/angstrom) and a polarization per volume (e/angstrom^2).

    Raises:
        InputError: the field does not reach both extremes and return.
    """
    halves = full_halves(field)
    falling = [h for h in halves if field[h.start] > field[h.stop - 1]]
    rising = [h for h in halves if field[h.start] < field[h.stop - 1]]
    if not falling or not rising:
        raise InputError(
            "no complete loop: the field must go from one extreme through zero to the other "
            f"and back; there are {len(falling)} falling and {len(rising)} rising halves"
        )
    grid = _grid(field)
    down = np.array([_binned(field[h], polarization[h], grid) for h in falling])
    up = np.array([_binned(field[h], polarization[h], grid) for h in rising])
    zero = np.mean([np.mean(part[:, end]) for part in (down, up) for end in (0, -1)])
    centred = POLARIZATION * (polarization - zero)
    down, up = POLARIZATION * (down - zero), POLARIZATION * (up - zero)
    areas = [
        -np.trapezoid(centred[a.start : b.stop], field[a.start : b.stop])
        for a, b in zip(halves[::2], halves[1::2], strict=False)
        if a.stop - 1 == b.start
    ]
    middle = len(grid) // 2
    return Loop(
        grid,
        down,
        up,
        np.array([_crossing(field[h], centred[h]) for h in falling]),
        np.array([_crossing(field[h], centred[h]) for h in rising]),
        down[:, middle],
        up[:, middle],
        np.array(areas) * ENERGY_DENSITY / POLARIZATION,
    )


def _grid(field):
    """Centres of equal bins from one extreme to the other, the middle one at zero."""
    largest = min(np.max(field), -np.min(field))
    return largest * np.linspace(-1.0, 1.0, _BINS)


def _binned(field, values, grid):
    """Mean in each bin of the field; empty bins are interpolated."""
    width = grid[1] - grid[0]
    index = np.clip(np.round((field - grid[0]) / width).astype(int), 0, len(grid) - 1)
    count = np.bincount(index, minlength=len(grid))
    total = np.bincount(index, weights=values, minlength=len(grid))
    return np.interp(grid, grid[count > 0], total[count > 0] / count[count > 0])


def _crossing(field, values) -> float:
    """Field where the values cross zero: midway between the first and the last crossing."""
    found = np.flatnonzero(np.sign(values[1:]) != np.sign(values[:-1]))
    if len(found) == 0:
        return np.nan
    ends = []
    for at in (found[0], found[-1]):
        share = values[at] / (values[at] - values[at + 1])
        ends.append(field[at] + share * (field[at + 1] - field[at]))
    return float(np.mean(ends))
