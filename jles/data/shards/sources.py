"""Frames of files of any size, one after the other: what ASE reads, and HDF5."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jles.data.frames import Frame, LabelKeys, frame_from_atoms, stream_frames
from jles.errors import InputError
from jles.files import HDF5_ERRORS
from jles.units import BOHR, HARTREE

_HDF5 = {".h5", ".hdf5"}
_PLACES = ("conformations", "coordinates", "positions")
_NUMBERS = ("atomic_numbers", "species", "numbers")

_UNITS = {
    "": 1.0,
    "angstrom": 1.0,
    "ev": 1.0,
    "ev/angstrom": 1.0,
    "e": 1.0,
    "e*angstrom": 1.0,
    "bohr": BOHR,
    "hartree": HARTREE,
    "hartree/bohr": HARTREE / BOHR,
    "hartree/angstrom": HARTREE,
    "e*bohr": BOHR,
}
"""Units that the attribute `units` of a data set may have, in those of `Frame`."""


def frames_of(path, keys: LabelKeys) -> Iterator[Frame]:
    """The frames of a file, with bounded memory.

    Args:
        path: of a file that `read_frames` reads, or of an HDF5 file (`.h5`, `.hdf5`), see
            `_hdf5`.
        keys: names of the labels in the file.

    Raises:
        InputError: as `read_frames`; a package is missing; no frames.
    """
    suffix = Path(path).suffix.lower()
    if not Path(path).exists() and "@" not in Path(path).name:
        raise InputError(f"{path}: no such file")
    read = _hdf5 if suffix in _HDF5 else stream_frames
    frame = None
    for frame in read(path, keys):
        yield frame
    if frame is None:
        raise InputError(f"{path}: contains no frames")


def _unreadable(path, error) -> InputError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return InputError(f"{path}: cannot be read ({type(error).__name__}: {reason})")


def _hdf5(path, keys: LabelKeys) -> Iterator[Frame]:
    """Groups of conformations of one molecule, as in SPICE, ANI-1x and many other sets.

    A group holds `atomic_numbers` (or `species`, `numbers`), (atoms,), and `conformations` (or
    `coordinates`, `positions`), (frames, atoms, 3). Labels have a first axis of frames; the
    names are those of `keys`. An attribute `units` ("bohr", "hartree/bohr", ...) is converted.
    Values whose name ends in `gradient` are forces with the other sign. `cell` (frames, 3, 3)
    makes crystals.
    """
    import h5py

    count = 0
    try:
        with h5py.File(path, "r") as file:
            for group in _groups(file):
                for atoms in _conformations(group, keys):
                    yield frame_from_atoms(atoms, keys, f"{path}, frame {count}")
                    count += 1
    except InputError:
        raise
    except HDF5_ERRORS as error:
        raise _unreadable(path, error) from None


def _groups(group):
    """All groups with conformations, in the order of their names."""
    import h5py

    if _first(group, _PLACES) and _first(group, _NUMBERS):
        yield group
    for name in sorted(group):
        if isinstance(group[name], h5py.Group):
            yield from _groups(group[name])


def _first(group, names) -> str | None:
    return next((name for name in names if name in group), None)


def _conformations(group, keys: LabelKeys):
    """The frames of one group as ASE atoms, with all other values as their `info`."""
    from ase import Atoms

    numbers = _checked(group[_first(group, _NUMBERS)], "atomic numbers")[:].reshape(-1)
    places = _checked(group[_first(group, _PLACES)], "numbers (angstrom)")
    _check_shape(places, (len(places), len(numbers), 3), "positions of every frame and atom")
    wanted = {value for value in vars_of(keys).values() if value in group}
    cells = group.get("cell")
    scale = {name: _unit(_checked(group[name], "numbers")) for name in wanted}
    for name in sorted(wanted):
        _check_rows(group[name], places)
    if cells is not None:
        _check_shape(_checked(cells, "numbers"), (len(places), 3, 3), "a cell for every frame")
    for n in range(len(places)):
        atoms = Atoms(numbers, places[n] * _unit(places))
        if cells is not None:
            atoms.set_cell(cells[n] * _unit(cells))
            atoms.pbc = True
        for name in wanted:
            value = group[name][n] if group[name].ndim else group[name][()]
            atoms.info[name] = np.asarray(value) * scale[name]
        yield atoms


def _checked(values, wanted: str):
    """The data set, which must hold numbers."""
    if values.dtype.kind not in "iuf":
        raise InputError(
            f"{values.file.filename}: {values.name} holds {values.dtype}; it must hold {wanted}"
        )
    return values


def _check_shape(values, shape: tuple, meaning: str) -> None:
    """Refuses another shape, which could mean something else."""
    if values.shape != shape:
        raise InputError(
            f"{values.file.filename}: {values.name} has shape {values.shape}; it must be "
            f"{shape}, {meaning}"
        )


def _check_rows(values, places) -> None:
    """Refuses values that are neither one number nor one row for every frame."""
    if values.ndim and len(values) != len(places):
        raise InputError(
            f"{values.file.filename}: {values.name} has {len(values)} rows, {places.name} has "
            f"{len(places)} frames; there must be one row for every frame"
        )


def vars_of(keys: LabelKeys) -> dict[str, str]:
    """The names of the labels in the files, by ours."""
    return {name: getattr(keys, name) for name in keys.__struct_fields__}


def _unit(values) -> float:
    """The factor from the unit of a data set to that of `Frame`, negative for gradients."""
    unit = values.attrs.get("units", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    factor = _UNITS.get(unit.strip().lower().replace(" ", ""))
    if factor is None:
        known = ", ".join(name for name in _UNITS if name)
        raise InputError(
            f"{values.file.filename}: {values.name} has the unit '{unit}'; known are {known}"
        )
    return -factor if values.name.endswith("gradient") else factor
