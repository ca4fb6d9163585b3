"""Reading labelled structures: anything ASE reads, checked frame by frame."""

import difflib
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jles.config import Config
from jles.data.database import LMDB, database_atoms
from jles.data.xyz import check_xyz
from jles.errors import InputError
from jles.quantities.catalogue import labelled
from jles.structures.neighbors import check_geometry
from jles.structures.total_charge import total_charge_of

_LAST_ELEMENT = 118
_LARGEST = 1e12
"""Larger values of a label are a mistake in the input, and overflow when they are squared."""


class Outline(NamedTuple):
    """The fields of a `Frame` that are known without its positions.

    Attributes:
        numbers: atomic numbers, sorted.
        cell: rows are lattice vectors, angstrom.
        pbc: which directions are periodic.
        labels: by name; the energy, eV; None for the others, whose values are not read.
        total_charge: e.
        source: origin of the frame.
    """

    numbers: Int[np.ndarray, " atoms"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    labels: dict[str, np.ndarray | None]
    total_charge: float
    source: str


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure of a data set and its labels.

    Attributes:
        numbers: atomic numbers.
        positions: Cartesian, angstrom.
        cell: rows are lattice vectors, angstrom.
        pbc: which directions are periodic.
        labels: by the names of `LabelKeys`; energy (), eV; forces (atoms, 3), eV/angstrom;
            stress (3, 3), eV/angstrom^3; dipole (3,), e angstrom; quadrupole (3, 3);
            born_charges (atoms, 3, 3), e; polarizability (3, 3), e angstrom^2/V. Missing labels
            are left out.
        total_charge: e.
        source: origin, e.g. "water.xyz, frame 3"; frames count from 0 as in ASE.
        state: label of every atom, or one for all, as in the file; None if it has none. It is
            checked where a model reads it.
        gives_charge: whether the file has the total charge, also where it is zero.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    total_charge: float = 0.0
    source: str = "structure"
    state: object = None
    gives_charge: bool = False

    def has(self, name: str) -> bool:
        """Whether the file has this one of `LabelKeys` for the frame."""
        if name == "total_charge":
            return self.gives_charge or self.total_charge != 0.0
        return self.state is not None if name == "state" else name in self.labels


class LabelKeys(Config):
    """Names of the labels in the files (docs/conventions.md); units are those of `Frame`."""

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"
    dipole: str = "dipole_ref"
    quadrupole: str = "quadrupole_ref"
    born_charges: str = "bec"
    polarizability: str = "polarizability_ref"
    total_charge: str = "total_charge"
    state: str = "state"


_DEFAULT_KEYS = LabelKeys()


def read_frames(
    path, keys: LabelKeys = _DEFAULT_KEYS, need: Sequence[str] = (), labels: bool = True
) -> list[Frame]:
    """All frames of a file that ASE can read; `file.xyz@10:20` selects as in ASE.

    Labels are read from the frame's values, its columns of atoms and the results of its
    calculator. Stress in Voigt order (xx, yy, zz, yz, xz, xy) or as nine numbers becomes 3x3.
    A missing `total_charge` is zero.

    Args:
        path: of the file.
        keys: names of the labels in the file.
        need: names of `LabelKeys` that at least one frame must have.
        labels: whether labels are read and checked; total charge and state are in any case.

    Raises:
        InputError: the file is missing, empty, damaged or of no known format; a number is not
            finite; a label has the wrong shape; a cell without volume is periodic; a label of
            `need` is in no frame. The message names file, frame, key and remedy.
    """
    frames, seen = [], set()
    for n, atoms in enumerate(read_atoms(path)):
        values = _values_of(atoms)
        seen.update(values)
        frames.append(_frame(atoms, values, keys, f"{path}, frame {n}", labels))
    if not frames:
        if not Path(path).exists():  # FILE@INDEX
            raise InputError(f"{path}: selects no frames; the file has fewer")
        raise InputError(f"{path}: contains no frames")
    for name in absent(need, frames):
        raise InputError(missing_label(path, name, keys, seen))
    return frames


def renamed(keys: LabelKeys) -> tuple[str, ...]:
    """The names of `LabelKeys` whose key is not the default."""
    return tuple(
        name
        for name in keys.__struct_fields__
        if getattr(keys, name) != getattr(_DEFAULT_KEYS, name)
    )


def absent(names: Iterable[str], frames: Iterable[Frame]) -> list[str]:
    """Those of these names of `LabelKeys` that no frame has."""
    names = list(names)
    for frame in frames:
        names = [name for name in names if not frame.has(name)]
    return names


def stream_frames(path, keys: LabelKeys = _DEFAULT_KEYS) -> Iterator[Frame]:
    """The frames of a file one by one, for files larger than the memory.

    Raises:
        InputError: as `read_frames`, when the frame is reached; nothing for an empty file.
    """
    for n, atoms in enumerate(read_atoms(path)):
        yield _frame(atoms, _values_of(atoms), keys, f"{path}, frame {n}")


class Examined(NamedTuple):
    """A frame of a file that may be wrong.

    Attributes:
        frame: None if it cannot be used.
        error: why it cannot be used; empty otherwise.
        keys: of all values in the frame, labels or not.
    """

    frame: Frame | None
    error: str
    keys: frozenset[str]


def examine_frames(path, keys: LabelKeys = _DEFAULT_KEYS) -> Iterator[Examined]:
    """The frames of a file as in `read_frames`, but an error ends only its frame.

    Raises:
        InputError: the file itself is damaged, so that later frames cannot be found.
    """
    for n, atoms in enumerate(read_atoms(path)):
        values = _values_of(atoms)
        try:
            frame, error = _frame(atoms, values, keys, f"{path}, frame {n}"), ""
        except InputError as problem:
            frame, error = None, str(problem)
        yield Examined(frame, error, frozenset(values))


def frame_from_atoms(atoms, keys: LabelKeys = _DEFAULT_KEYS, source="structure") -> Frame:
    """The frame of one `ase.Atoms`, with its labels.

    Raises:
        InputError: as in `read_frames`.
    """
    return _frame(atoms, _values_of(atoms), keys, source)


def digests(frames: Iterable[Frame]) -> dict[str, str]:
    """A short digest of the frames and labels of every file, by its name."""
    found = {}
    for frame in frames:
        digest = found.setdefault(frame.source.rpartition(", frame ")[0], hashlib.sha256())
        labels = sorted(frame.labels.items())
        arrays = [frame.numbers, frame.positions, frame.cell, frame.pbc, frame.total_charge]
        for array in (*arrays, *(value for _, value in labels)):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr(([name for name, _ in labels], np.shape(frame.numbers))).encode())
        digest.update(np.ascontiguousarray(frame.state, str).tobytes())
    return {name: digest.hexdigest()[:16] for name, digest in found.items()}


def check_elements(
    frames: Iterable[Frame | Outline], numbers: Sequence[int], where: str = ""
) -> None:
    """Raises an error if a frame has an element outside `numbers`.

    Args:
        frames: frames to check.
        numbers: known atomic numbers.
        where: added to the message after the elements, e.g. "of the model runs/water".

    Raises:
        InputError: a frame has an unknown element; the message lists the known elements.
    """
    from ase.data import chemical_symbols

    known = set(numbers)
    for frame in frames:
        strangers = sorted(set(frame.numbers.tolist()) - known)
        if strangers:
            names = ", ".join(chemical_symbols[z] for z in sorted(known))
            raise InputError(
                f"{frame.source}: element {chemical_symbols[strangers[0]]} is not among "
                f"the known elements {names}{' ' + where if where else ''}"
            )


def read_atoms(path):
    """Yields `ase.Atoms`; an error of ASE becomes one line that names file and frame."""
    from ase.io.formats import UnknownFileTypeError

    from jles.data.shards.layout import is_shards

    file, index = file_and_index(path)
    if not file.exists():
        raise InputError(f"{file}: no such file")
    if is_shards(file):
        raise InputError(
            f"{file}: is a directory of shards, which only jles train, evaluate, init-config "
            "and data check read; give the files that it was built from"
        )
    if file.is_file() and file.stat().st_size == 0:
        raise InputError(f"{file}: the file is empty")
    frame = 0
    try:
        for atoms in _atoms(file, index):
            yield atoms
            frame += 1
    except InputError:
        raise
    except UnknownFileTypeError:
        hdf5 = file.suffix.lower() in {".h5", ".hdf5"}
        remedy = "HDF5 is read by jles data build" if hdf5 else "try .extxyz"
        raise InputError(f"{file}: not a file format that ASE knows; {remedy}") from None
    except Exception as error:
        if file.is_dir():
            raise InputError(
                f"{file}: is a directory without index.h5, so no shards; give a file of "
                "structures"
            ) from None
        # ASE's readers raise errors of many types: KeyError, IndexError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}, frame {frame}: cannot be read ({type(error).__name__}: {reason})"
        ) from None


def file_and_index(path) -> tuple[Path, str]:
    """The file of `FILE` or `FILE@INDEX`, and which frames of it are meant."""
    file = Path(path)
    if file.exists() or "@" not in file.name:
        return file, ":"
    name, _, index = str(path).rpartition("@")
    return Path(name), index


def _atoms(file: Path, index: str):
    from ase.io import iread
    from ase.io.formats import filetype

    kind = "lmdb" if file.suffix.lower() in LMDB else filetype(str(file))
    if kind in {"db", "json", "lmdb"}:
        return database_atoms(file, kind, index)
    if kind in {"xyz", "extxyz"}:
        check_xyz(file)
    return iread(str(file), index=index, do_not_split_by_at_sign=True)


def _values_of(atoms) -> dict:
    """All values of a frame that may be labels, by their names in the file."""
    results = atoms.calc.results if atoms.calc is not None else {}
    columns = {k: v for k, v in atoms.arrays.items() if k not in {"numbers", "positions"}}
    return {**results, **columns, **atoms.info}


def _frame(atoms, values, keys, source, with_labels: bool = True) -> Frame:
    try:
        positions, cell, pbc = check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
        numbers = np.asarray(atoms.numbers, np.int32)
        unknown = np.flatnonzero((numbers < 1) | (numbers > _LAST_ELEMENT))
        if len(unknown):
            number = numbers[unknown[0]]
            raise InputError(f"atom {unknown[0]} has no element (atomic number {number})")
        if len(numbers) == 0:
            raise InputError("no atoms; a frame needs at least one")
        labels = {}
        for name, quantity in labelled().items() if with_labels else ():
            key = getattr(keys, name, quantity.label.key or name)
            if values.get(key) is not None:
                label = _label(name, key, values[key], len(numbers))
                if label is not None:
                    labels[name] = label
        charge = total_charge_of(values, keys.total_charge, numbers)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return Frame(
        numbers,
        positions,
        cell,
        pbc,
        labels,
        total_charge=charge,
        source=source,
        state=values.get(keys.state),
        gives_charge=keys.total_charge in values,
    )


def _label(name, key, value, n_atoms):
    """The label in its standard shape, or None if all its values are NaN."""
    value, quantity = _numbers(key, value), labelled()[name]
    shape = tuple(n_atoms if length == "atoms" else length for length in quantity.shape)
    if name == "stress" and value.shape == (6,):
        xx, yy, zz, yz, xz, xy = value
        value = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    rows = shape[:1] if quantity.per_atom else ()
    flat = (*rows, math.prod(shape[len(rows) :]))
    if value.shape not in {shape, flat, (math.prod(shape),)}:
        also = " or (6,)" if name == "stress" else ""
        shapes = " or ".join(map(str, dict.fromkeys((shape, flat))))
        raise InputError(f"'{key}' ({name}) has shape {value.shape}; it must be {shapes}{also}")
    if not np.isfinite(value).all():
        # A label that is NaN throughout is how some codes write "not computed".
        if name not in ("energy", "forces") and np.isnan(value).all():
            return None
        where = ""
        if quantity.per_atom:
            finite = np.isfinite(value.reshape(n_atoms, -1)).all(axis=1)
            where = f" of atom {np.flatnonzero(~finite)[0]}"
        raise InputError(f"'{key}' ({name}){where} has a value that is not finite")
    largest = np.max(np.abs(value), initial=0.0)
    if largest > _LARGEST:
        raise InputError(
            f"'{key}' ({name}) has a value of {largest:.3g}; values must be below {_LARGEST:g} "
            f"{quantity.unit}"
        )
    return value.reshape(shape)


def _numbers(key, value):
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"'{key}' is {str(value)[:40]!r}; it must be numeric") from None


def missing_label(path, name: str, keys: LabelKeys, seen: Iterable[str] | None = None) -> str:
    """The message for a label that no frame of a file has.

    Args:
        path: of the file.
        name: of `LabelKeys`.
        keys: names of the labels in the file.
        seen: keys of the values in its frames; None if they are not known.
    """
    key = getattr(keys, name)
    message = f"{path}: no frame has '{key}' (the label {name}); "
    if seen is None:
        return f"{message}jles data check shows the keys"
    near = difflib.get_close_matches(key, seen, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    present = ", ".join(sorted(seen)) if seen else "none"
    return f"{message}{hint}keys present: {present}"
