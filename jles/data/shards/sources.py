"""Frames of files of any size, one after the other: what ASE reads, and HDF5."""

from collections.abc import Iterator

import numpy as np

from jles.data.frames import (
    Frame,
    LabelKeys,
    file_and_index,
    frame_from_atoms,
    stream_frames,
)
from jles.data.shards.file_units import KNOWN, unit_factor
from jles.errors import InputError
from jles.files import HDF5_ERRORS
from jles.quantities.catalogue import labelled

_HDF5 = {".h5", ".hdf5"}
_PLACES = ("conformations", "coordinates", "positions")
_NUMBERS = ("atomic_numbers", "species", "numbers")


def frames_of(path, keys: LabelKeys) -> Iterator[Frame]:
    """The frames of a file, with bounded memory.

    Args:
        path: of a file that `read_frames` reads, or of an HDF5 file (`.h5`, `.hdf5`), see
            `_hdf5`.
        keys: names of the labels in the file.

    Raises:
        InputError: as `read_frames`; a package is missing; no frames; HDF5 with `@INDEX`.
    """
    file, index = file_and_index(path)
    if not file.exists():
        raise InputError(f"{file}: no such file")
    hdf5 = file.suffix.lower() in _HDF5
    if hdf5 and index != ":":
        raise InputError(f"{path}: HDF5 takes no @INDEX; give {file}")
    read = _hdf5 if hdf5 else stream_frames
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
    Forces whose name ends in `gradient` or `gradients` change their sign. `cell` (frames, 3, 3)
    makes crystals, or `pbc` (3,) or (frames, 3) says which directions are periodic.
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
    labels = {key: label for label, key in vars_of(keys).items() if key in group}
    scale = {key: _factor(_checked(group[key], "numbers"), labels[key]) for key in labels}
    for key in sorted(labels):
        _check_rows(group[key], places)
    length, cells = _factor(places), _cells(group, places)
    edge = 1.0 if cells is None else _factor(cells)
    pbc = _pbc(group, len(places), cells is not None)
    unread = _unread_charges(group, keys, len(places))
    for n in range(len(places)):
        atoms = Atoms(numbers, places[n] * length, pbc=pbc[n])
        if cells is not None:
            atoms.set_cell(cells[n] * edge)
        for key in labels:
            value = group[key][n] if group[key].ndim else group[key][()]
            atoms.info[key] = np.asarray(value) * scale[key]
        if unread is not None:
            atoms.info["charge"] = float(unread[n])
        yield atoms


def _cells(group, places):
    """The data set `cell`, or None."""
    if "cell" not in group:
        return None
    cells = _checked(group["cell"], "numbers")
    _check_shape(cells, (len(places), 3, 3), "a cell for every frame")
    return cells


def _pbc(group, count: int, default: bool) -> np.ndarray:
    """Periodic directions of every frame, (frames, 3)."""
    if "pbc" not in group:
        return np.full((count, 3), default)
    values = _checked(group["pbc"], "true or false", kinds="biuf")
    if values.shape not in {(3,), (count, 3)} or not np.isin(values[()], (0, 1)).all():
        raise InputError(
            f"{values.file.filename}: {values.name} is not true or false (1 or 0) for every "
            f"direction in the shape (3,) or ({count}, 3); its shape is {values.shape}"
        )
    return np.broadcast_to(values[()].astype(bool), (count, 3))


def _unread_charges(group, keys: LabelKeys, count: int) -> np.ndarray | None:
    """Values of `charge` beside no total charge, of which a frame warns."""
    if keys.total_charge in group or "charge" not in group:
        return None
    values = np.asarray(group["charge"])
    if values.dtype.kind not in "iuf" or values.size not in {1, count}:
        return None
    return np.broadcast_to(values.reshape(-1), count)


def _checked(values, wanted: str, kinds: str = "iuf"):
    """The data set, which must hold numbers; `kinds` are those of their NumPy type."""
    held = getattr(values, "dtype", np.dtype(object))
    if held.kind not in kinds:
        raise InputError(
            f"{values.file.filename}: {values.name} holds {held}; it must hold {wanted}"
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


def _factor(values, label: str = "") -> float:
    """The factor from the unit of a data set to that of `Frame`, negative for gradients.

    Args:
        values: the data set.
        label: its name in `LabelKeys`; empty for a length.
    """
    ours = _our_unit(label)
    unit = values.attrs.get("units", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    factor = unit_factor(unit, ours) if unit.strip() else 1.0
    if factor is None:
        raise InputError(
            f"{values.file.filename}: {values.name} has the unit '{unit}', which is not "
            f"converted to {ours}; units are made of {KNOWN}"
        )
    gradient = label == "forces" and values.name.lower().endswith(("gradient", "gradients"))
    return -factor if gradient else factor


def _our_unit(label: str) -> str:
    if label in labelled():
        return labelled()[label].unit
    return {"": "angstrom", "total_charge": "e", "state": "1"}[label]
