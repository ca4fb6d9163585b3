"""Input and output of the evaluation of a rank."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from jles.lammps.field_part import Mean
from jles.lammps.own_part import Derivatives


class RankInput(NamedTuple):
    """Atoms of a rank as LAMMPS has them, own atoms first, then all images of ghosts.

    Attributes:
        tags: atom IDs.
        numbers: atomic numbers.
        positions: from a corner of the box, angstrom.
        own: how many atoms are own.
        cell: rows are lattice vectors, angstrom.
        periodic: of each direction.
        total: number of atoms of all ranks.
        relisted: whether LAMMPS has made new lists, so atoms may have moved between ranks.
        unwrap: shift of the positions of own atoms that makes them continuous in time,
            angstrom; None for no shift.
        field: applied, V/angstrom; None for none.
        born: whether Born charges are wanted.
    """

    tags: Int[np.ndarray, " all"]
    numbers: Int[np.ndarray, " all"]
    positions: Float[np.ndarray, "all 3"]
    own: int
    cell: Float[np.ndarray, "3 3"]
    periodic: tuple[bool, bool, bool]
    total: int
    relisted: bool
    unwrap: Float[np.ndarray, "own 3"] | None = None
    field: Float[np.ndarray, " 3"] | None = None
    born: bool = False


class RankOutput(NamedTuple):
    """Results of a rank.

    Attributes:
        energy: of all ranks, element energies included, eV; in a field the enthalpy.
        forces: on own atoms, eV/angstrom; in a field with its own.
        virial: of all ranks, -dE/dstrain, eV; without the field.
        charges: latent charges of own atoms, e, with the sign that `ScreeningConfig` gives.
        energies: of own atoms, element energies included, eV; without a field they add up to
            `energy`.
        polarization: of all ranks, on the branch of the unwrapped positions, e angstrom.
        born_charges: of own atoms, e, first index polarization, second displacement; they obey
            the acoustic sum rule with a total charge of zero. None where not wanted.
    """

    energy: float
    forces: Float[np.ndarray, "own 3"]
    virial: Float[np.ndarray, "3 3"]
    charges: Float[np.ndarray, " own"]
    energies: Float[np.ndarray, " own"]
    polarization: Float[np.ndarray, " 3"]
    born_charges: Float[np.ndarray, "own 3 3"] | None


class Applied(NamedTuple):
    """The field that acts on the charges of all ranks.

    Attributes:
        field: latent, V/angstrom; None for none.
        factor: from latent to physical moments.
        mean: over all atoms; None without latent charges.
    """

    field: Float[np.ndarray, " 3"] | None
    factor: float
    mean: Mean | None


class Moments(NamedTuple):
    """Latent moments of a rank.

    Attributes:
        charges: effective, of the first rows, e.
        dipole: sum of the effective dipoles, e angstrom.
        permanent: sum of the permanent dipoles, e angstrom.
    """

    charges: Float[np.ndarray, " first"]
    dipole: Float[Array, " 3"]
    permanent: Float[Array, " 3"]


_MOMENTS = 13
"""Entries of `moment_sums`, and of the sum of the permanent dipoles."""


def moment_sums(charges, places, dipole) -> Float[np.ndarray, " 10"]:
    """Sums over own atoms: of q, r, q r and dipoles, to be added over ranks."""
    dipole = np.asarray(dipole, np.float64)
    return np.array([charges.sum(), *places.sum(axis=0), *(charges @ places), *dipole])


def gathered(
    total: Float[np.ndarray, " sums"],
    columns: Float[np.ndarray, "own width"],
    energies: Float[np.ndarray, " own"],
    moments: Moments,
    lattice: Derivatives,
    atoms: RankInput,
    applied: Applied,
) -> RankOutput:
    """The output of a rank.

    Args:
        total: energy, virial, `moment_sums`, permanent dipoles and sums of the coupling rows,
            added over ranks.
        columns: forces on own atoms and coupling rows, those of other ranks included.
        energies: of own atoms, eV.
        moments: of this rank.
        lattice: energy and virial of the lattice sum.
        atoms: of this rank.
        applied: to all ranks.
    """
    energy, virial = total[0] + float(lattice.lattice_energy), total[1:10].reshape(3, 3)
    charge, place, first, dipole, permanent = np.split(total[10 : 10 + _MOMENTS], [1, 4, 7, 10])
    of_charges = first - charge * place / max(atoms.total, 1)
    excess = total[10 + _MOMENTS :].reshape(-1, 3) / max(atoms.total, 1)
    # The acoustic sum rule: a field moves no neutral system as a whole.
    rows = columns[:, 3:].reshape(len(columns), len(excess), 3) - excess
    forces = columns[:, :3]
    if applied.field is not None:
        energy -= applied.field @ (of_charges + permanent)
        if atoms.born:
            forces = forces + np.einsum("a,iab->ib", atoms.field, rows)
        else:
            forces = forces + rows[:, 0]
    return RankOutput(
        energy,
        forces,
        virial + np.asarray(lattice.lattice_virial, np.float64),
        np.sign(applied.factor) * moments.charges[: atoms.own],
        energies,
        applied.factor * (of_charges + dipole),
        rows if atoms.born else None,
    )
