"""Labels of a frame by the teacher, checked."""

import hashlib
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator

from jles.data.frames import Frame, LabelKeys
from jles.distill.teacher import Teacher, in_words
from jles.errors import InputError

KEYS = LabelKeys()
TEACHER_CHARGES = "teacher_charges"
"""Column of the partial charges of the teacher, where it has some."""

_INPUTS = (KEYS.total_charge, KEYS.state)


def label_names(
    teacher: Teacher, starts: Sequence[Frame], stress: bool = True
) -> tuple[str, ...]:
    """Names of the labels that training frames like the starts get, see `labelled`."""
    has_stress = "stress" in teacher.calculator.implemented_properties
    if stress and has_stress and any(frame.pbc.all() for frame in starts):
        return ("energy", "forces", "stress")
    return ("energy", "forces")


def labelled(
    teacher: Teacher, atoms: Atoms, where: str, stress: bool = False, response: bool = False
) -> Atoms:
    """A copy without momenta and constraints, with the labels of the teacher.

    Forces are those without constraints. Labels that the frame had are left out.

    Args:
        teacher: gives the labels.
        atoms: the frame.
        where: names the frame in errors.
        stress: whether to ask for the stress, of a crystal and if the teacher has it.
        response: whether to ask for dipole, charges and Born charges, if the teacher has them.

    Raises:
        InputError: the teacher fails, has no forces, or gives a number that is not finite.
    """
    frame = bare(atoms)
    # Results of the last step of a run are not computed again.
    worked = atoms if atoms.calc is teacher.calculator else atoms.copy()
    worked.calc = teacher.calculator
    results = {
        "energy": _checked(teacher, worked, "energy", where),
        "forces": _checked(teacher, worked, "forces", where),
    }
    if stress and atoms.pbc.all():
        results["stress"] = _optional(teacher, worked, "stress", where)
    if response:
        frame.info[KEYS.dipole] = _optional(teacher, worked, "dipole", where)
        frame.arrays[TEACHER_CHARGES] = _optional(teacher, worked, "charges", where)
        born = _optional(teacher, worked, "born_effective_charges", where)
        frame.arrays[KEYS.born_charges] = None if born is None else born.reshape(-1, 9)
    for values in (results, frame.info, frame.arrays):
        for name in [name for name, value in values.items() if value is None]:
            del values[name]
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def bare(atoms: Atoms) -> Atoms:
    """The structure with total charge and state, but without momenta, constraints or labels."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for name in _INPUTS:
        for mine, theirs in ((frame.info, atoms.info), (frame.arrays, atoms.arrays)):
            if name in theirs:
                mine[name] = theirs[name]
    return frame


def as_sampled(start: Atoms, frame: Atoms) -> Atoms:
    """A frame of a run as its teacher saw it: with all inputs of the start.

    A teacher may read initial charges, magnetic moments or values of `Atoms.info`. They are the
    same for the whole run, and its frames do not keep them.
    """
    atoms = start.copy()
    atoms.set_constraint()
    atoms.set_cell(frame.cell)
    atoms.set_positions(frame.positions)
    return atoms


def inputs_digest(starts: Sequence[Atoms]) -> str:
    """A short digest of all that a teacher may read of the starts beside the geometry."""
    found = hashlib.sha256()
    for atoms in starts:
        for store in (atoms.arrays, atoms.info):
            for name in sorted(store):
                value = store[name]
                if isinstance(value, np.ndarray):
                    value = value.tolist()
                found.update(f"{name}: {value!r}\n".encode())
    return found.hexdigest()[:16]


def _optional(teacher: Teacher, atoms: Atoms, name: str, where: str):
    """The quantity, or None if the teacher does not have it."""
    if name not in teacher.calculator.implemented_properties:
        return None
    try:
        return _checked(teacher, atoms, name, where)
    except PropertyNotImplementedError:
        return None


def _checked(teacher: Teacher, atoms: Atoms, name: str, where: str):
    """The quantity, with finite numbers.

    Raises:
        InputError: it fails, is not finite, or is an energy or forces that the teacher lacks.
        PropertyNotImplementedError: the teacher lacks another quantity.
    """
    try:
        value = np.asarray(teacher.calculator.get_property(name, atoms), np.float64)
    except PropertyNotImplementedError:
        if name not in ("energy", "forces"):
            raise
        raise InputError(
            f"teacher {teacher.name}: has no {name}; a student needs energies and forces"
        ) from None
    except Exception as error:
        # A calculator may raise anything.
        raise InputError(f"{where}: teacher {teacher.name} fails ({in_words(error)})") from None
    if not np.isfinite(value).all():
        raise InputError(
            f"{where}: the {name} of teacher {teacher.name} is not finite; look at this "
            "structure, or lower sample.temperatures or sample.timestep"
        )
    return value
