"""Polarization and tetragonality, averaged over stretches of a run."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jles.analysis.estimators.blocks import block_average


class Stretch(NamedTuple):
    """Averages over one of the equal stretches of time that a run is divided into."""

    temperature: float
    """K"""
    polarization: Float[np.ndarray, " 4"]
    """Mean length, then components, microC/cm^2."""
    polarization_error: Float[np.ndarray, " 4"]
    tetragonality: float
    """Longest edge of the mean cell divided by the geometric mean of the others."""
    tetragonality_error: float
    converged: bool
    """Whether the errors are more than lower bounds, see `BlockAverage`."""


def tetragonality(cells: Float[np.ndarray, "frames 3 3"]) -> Float[np.ndarray, " frames"]:
    """Longest edge divided by the geometric mean of the other two, frame by frame.

    It is the edge that is longest on average, in all frames: choosing it anew in every frame
    would make a distortion out of the fluctuations of a cubic cell.
    """
    edges = np.linalg.norm(cells, axis=2)
    longest = int(np.argmax(np.mean(edges, axis=0)))
    others = np.delete(edges, longest, axis=1)
    return edges[:, longest] / np.sqrt(np.prod(others, axis=1))


def stretches(
    temperature: Float[np.ndarray, " frames"],
    polarization: Float[np.ndarray, "frames 3"],
    cells: Float[np.ndarray, "frames 3 3"],
    count: int,
) -> list[Stretch]:
    """Averages with block errors over `count` stretches of a run, in order of time."""
    found = []
    edges = np.linspace(0, len(temperature), count + 1).round().astype(int)
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        part = polarization[first:last]
        lengths = np.linalg.norm(part, axis=1)
        average = block_average(np.concatenate([lengths[:, None], part], axis=1))
        ratio = block_average(tetragonality(cells[first:last]))
        found.append(
            Stretch(
                float(np.mean(temperature[first:last])),
                average.mean,
                average.error,
                float(ratio.mean),
                float(ratio.error),
                bool(ratio.converged) and bool(average.converged[0]),
            )
        )
    return found
