r"""Born charges for phonopy: the non-analytical correction, which splits LO and TO modes.

Finite displacements in a supercell give force constants at zero macroscopic field, and so
transverse optical modes at the zone centre. The field of a longitudinal mode adds a term that
is not analytic in the wave vector,

.. math:: \Delta D_{ia,jb}(\hat q) = \frac{4\pi k_e}{V\sqrt{m_i m_j}}
    \frac{(\hat q\cdot Z^*_i)_a\,(\hat q\cdot Z^*_j)_b}{\hat q\cdot\epsilon_\infty\cdot\hat q}
    , \qquad (\hat q\cdot Z^*_i)_b = \sum_a \hat q_a Z^*_{i,ab},

with *physical* Born charges, :math:`\sqrt{\epsilon_e}` times the derivative of latent charges
(`jles.observables.screening`). phonopy's `born` has the order of VASP, first index the field,
which is that of `born_charges`; nothing is transposed. phonopy averages the charges over the
symmetry of the crystal, subtracts the violation of the acoustic sum rule, and warns if that
changes them by more than 0.1 e.

`jles predict --phonopy-born` and `jles evaluate --phonopy-born` write the file `BORN`.

Source: docs/conventions.md, sections 6 and 7; Gonze, Lee, Phys. Rev. B 55, 10355 (1997); Wang
et al., J. Phys. Condens. Matter 22, 202201 (2010).
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jles.errors import InputError
from jles.files import write_atomically
from jles.quantities.refusals import Periodic
from jles.units import COULOMB_CONSTANT

_ASYMMETRY = 1e-3
"""Largest asymmetry of a dielectric tensor, relative to its largest element."""


def check_born_file(config, pbc: Sequence[Periodic], where) -> list[str]:
    """Checks that a BORN file can be written, before anything is computed.

    Args:
        config: of the model.
        pbc: periodic directions of every structure.
        where: they come from, for errors.

    Returns:
        Names of the quantities that `write_prediction` reads.

    Raises:
        InputError: not one crystal, no dielectric constant, or phonopy is not installed.
    """
    if len(pbc) != 1 or not all(pbc[0]):
        raise InputError(
            f"{where}: --phonopy-born needs one crystal, phonopy's primitive cell; "
            f"found {len(pbc)} frame(s), choose one with FILE@INDEX"
        )
    if find_spec("phonopy") is None:
        raise InputError(
            "--phonopy-born needs phonopy, which chooses the independent atoms: "
            "pip install phonopy"
        )
    if config.polarizability is not None:
        return ["born_charges", "polarizability"]
    if config.screening.epsilon_infinity is None:
        raise InputError(
            "--phonopy-born needs the dielectric constant of the electrons, and the model has "
            "no head 'polarizability' that gives one; give --epsilon-infinity"
        )
    return ["born_charges"]


def write_prediction(path: str | Path, config, atoms, prediction) -> None:
    """Writes the BORN file of a prediction for phonopy's primitive cell; needs phonopy.

    Args:
        path: the file; phonopy looks for `BORN`.
        config: of the model.
        atoms: `ase.Atoms`, in the order of phonopy's primitive cell.
        prediction: with the quantities that `check_born_file` named.

    Raises:
        InputError: a dielectric tensor that cannot be; or the file cannot be written.
    """
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.symmetry import Symmetry

    epsilon = prediction.epsilon_infinity
    if epsilon is None:
        epsilon = config.screening.epsilon_infinity * np.eye(3)
    cell = PhonopyAtoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array)
    write_born(path, prediction.born_charges, epsilon, Symmetry(cell).get_independent_atoms())


def nac_params(born_charges, epsilon_infinity) -> dict:
    """The values of `Phonopy.nac_params`: `born`, `dielectric` and `factor`.

    Args:
        born_charges: physical Z*[i, a, b] = dP_a/dr_ib, e, (atoms, 3, 3), in the order of the
            atoms of phonopy's primitive cell; see `jles.observables.born_charges.obey_sum_rule`
            to make them sum to zero.
        epsilon_infinity: dielectric tensor of the electrons, (3, 3), symmetric.

    Returns:
        float64 arrays, and k_e in eV angstrom e^-2 as the factor: masses in amu, lengths in
        angstrom and energies in eV are phonopy's own units for its default and for VASP.

    Raises:
        InputError: begins with the name of the argument.
    """
    return {
        "born": _checked_charges(born_charges),
        "dielectric": _checked_dielectric(epsilon_infinity),
        "factor": COULOMB_CONSTANT,
    }


def write_born(path: str | Path, born_charges, epsilon_infinity, independent_atoms) -> None:
    """Writes phonopy's BORN file: factor, dielectric tensor, a line for each independent atom.

    When phonopy reads the file it completes the charges of the other atoms by symmetry.

    Args:
        path: the file; phonopy looks for `BORN`.
        born_charges: as for `nac_params`, of all atoms of the primitive cell.
        epsilon_infinity: as for `nac_params`.
        independent_atoms: indices of the atoms that phonopy takes as independent, ascending:
            `phonon.primitive_symmetry.get_independent_atoms()`.

    Raises:
        InputError: begins with the name of the argument; or the file cannot be written.
    """
    params = nac_params(born_charges, epsilon_infinity)
    chosen = _checked_places(independent_atoms, len(params["born"]))
    tensors = [params["dielectric"], *params["born"][chosen]]
    lines = [f"{params['factor']:.12f}"]
    lines += [" ".join(f"{value:.12f}" for value in tensor.ravel()) for tensor in tensors]
    write_atomically(path, "\n".join(lines) + "\n")


def _finite_array(name: str, values) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: must be an array of numbers") from None
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name}: holds NaN or infinity")
    return array


def _checked_charges(values) -> np.ndarray:
    charges = _finite_array("born_charges", values)
    if charges.ndim != 3 or charges.shape[1:] != (3, 3) or len(charges) == 0:
        raise InputError(
            f"born_charges: must be (atoms, 3, 3) of the primitive cell, got {charges.shape}"
        )
    return charges


def _checked_dielectric(values) -> np.ndarray:
    tensor = _finite_array("epsilon_infinity", values)
    if tensor.shape != (3, 3):
        raise InputError(
            f"epsilon_infinity: must be (3, 3), got {tensor.shape}; of an isotropic crystal it "
            "is the dielectric constant times the identity"
        )
    if np.max(np.abs(tensor - tensor.T)) > _ASYMMETRY * np.max(np.abs(tensor)):
        raise InputError(f"epsilon_infinity: must be symmetric, got {tensor.tolist()}")
    smallest = np.linalg.eigvalsh((tensor + tensor.T) / 2.0)[0]
    if smallest < 1.0:
        raise InputError(
            f"epsilon_infinity: its smallest eigenvalue is {smallest:.6g}; it must be at least "
            "1, that of vacuum (is it the susceptibility, epsilon - 1?)"
        )
    return tensor


def _checked_places(places, count: int) -> np.ndarray:
    chosen = np.asarray(places)
    whole = chosen.ndim == 1 and chosen.size > 0 and np.issubdtype(chosen.dtype, np.integer)
    if not whole or chosen.min() < 0 or chosen.max() >= count or np.any(np.diff(chosen) <= 0):
        raise InputError(
            f"independent_atoms: must be ascending indices among {count} atoms, from 0 to "
            f"{count - 1}, got {np.array(places).tolist()}"
        )
    return chosen
