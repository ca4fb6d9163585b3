"""Element energies: the part of the total energy that is linear in the numbers of atoms."""

from collections.abc import Mapping, Sequence

import numpy as np

from jles.data.frames import Frame, check_elements


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
    from ase.data import chemical_symbols

    check_elements(frames, numbers)
    labelled = [frame for frame in frames if "energy" in frame.labels]
    solution = np.zeros(len(numbers))
    if labelled:
        fractions = np.array(
            [[np.mean(frame.numbers == z) for z in numbers] for frame in labelled]
        )
        energies = np.array(
            [frame.labels["energy"] / len(frame.numbers) for frame in labelled], np.float64
        )
        solution = np.linalg.lstsq(fractions, energies, rcond=None)[0]
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
