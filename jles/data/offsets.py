"""Element energies: the part of the total energy that is linear in the numbers of atoms."""

from collections.abc import Mapping, Sequence

import numpy as np

from jles.data.frames import Frame, check_elements
from jles.data.shards.stored import StoredFrames


def fit_element_energies(frames: Sequence[Frame], numbers: Sequence[int]) -> dict[str, float]:
    r"""Energies e_Z (eV) by symbol that fit the total energies best.

    .. math:: \min_e \sum_s (E_s - \sum_{i \in s} e_{Z_i})^2 / N_s^2

    If the compositions do not determine it (only water, say), it is the solution of least norm.
    Frames without an energy are ignored; without any energies the result is zero. In float64.

    Args:
        frames: labelled or not.
        numbers: atomic numbers of the model.

    Raises:
        InputError: a frame with an element outside `numbers`.
    """
    check_elements(frames, numbers)
    labelled = [frame for frame in frames if "energy" in frame.labels]
    fractions = [[np.mean(frame.numbers == z) for z in numbers] for frame in labelled]
    energies = [frame.labels["energy"] / len(frame.numbers) for frame in labelled]
    return fit_fractions(fractions, energies, numbers)


def fit_stored_energies(frames: StoredFrames, numbers: Sequence[int]) -> dict[str, float]:
    """The same for stored frames, from their index; the elements must be known.

    The energies of one formula enter by their mean and their number, which gives the same fit.
    """
    index, energy = frames.index, frames.column("energy")
    formula = frames.column("formula")[np.isfinite(energy)]
    energy = energy[np.isfinite(energy)]
    counts = np.bincount(formula, minlength=len(index.formulas))
    found = np.flatnonzero(counts)
    totals = np.bincount(formula, energy, minlength=len(index.formulas))[found]
    atoms = index.formulas[found].sum(axis=1)
    places = {int(z): n for n, z in enumerate(index.elements)}
    fractions = np.zeros((len(found), len(numbers)))
    for column, z in enumerate(numbers):
        if z in places:
            fractions[:, column] = index.formulas[found, places[z]] / atoms
    weight = np.sqrt(counts[found])
    return fit_fractions(
        weight[:, None] * fractions, totals / counts[found] / atoms * weight, numbers
    )


def mean_energy(frames: Sequence[Frame] | StoredFrames) -> float:
    """Mean energy per atom, eV; 0 without energies."""
    if isinstance(frames, StoredFrames):
        energies = frames.column("energy") / frames.column("atoms")
    else:
        found = [(f.labels["energy"], len(f.numbers)) for f in frames if "energy" in f.labels]
        energies = np.array([float(energy) / atoms for energy, atoms in found])
    energies = energies[np.isfinite(energies)]
    return float(energies.mean()) if len(energies) else 0.0


def fit_fractions(fractions, energies, numbers: Sequence[int]) -> dict[str, float]:
    """Energies e_Z (eV) by symbol whose averages over structures fit energies per atom best.

    Args:
        fractions: of the atoms of every structure that are of each element.
        energies: per atom, eV.
        numbers: atomic numbers of the elements.
    """
    from ase.data import chemical_symbols

    solution = np.zeros(len(numbers))
    if len(energies):
        rows, values = np.asarray(fractions, np.float64), np.asarray(energies, np.float64)
        solution = np.linalg.lstsq(rows, values, rcond=None)[0]
    return {
        chemical_symbols[z]: float(energy) for z, energy in zip(numbers, solution, strict=True)
    }


def offset_energy(numbers, offsets: Mapping[str, float]) -> float:
    """Sum of the element energies of a structure, eV, float64; absent elements give zero."""
    from ase.data import chemical_symbols

    elements, counts = np.unique(np.asarray(numbers), return_counts=True)
    return float(
        sum(
            count * offsets.get(chemical_symbols[z], 0.0)
            for z, count in zip(elements.tolist(), counts.tolist(), strict=True)
        )
    )
