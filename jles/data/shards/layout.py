"""The files of a data set in shards, and the record of its index.

A directory of shards holds `index.h5` and `shard-00000.h5`, `shard-00001.h5`, ... A shard holds
frames with the same labels, one behind the other:

    /numbers (atoms,)    /positions (atoms, 3)    /state (atoms,), if the frames have it
    /labels/NAME (atoms, ...) for labels per atom, else (frames, ...)

The index says where every frame is, and all that is needed to plan batches without reading
shards: sizes, neighbour counts, cells, formulas, charges, energies, labels.
"""

import functools
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from jles.errors import InputError
from jles.files import HDF5_ERRORS

INDEX = "index.h5"
FORMAT = "jles-shards"
VERSION = 1

CUTOFFS = (4.0, 4.5, 5.0, 5.5, 6.0)
"""Neighbours are counted within these distances by default, angstrom."""


@dataclass(frozen=True, eq=False)
class Columns:
    """One entry for every frame.

    Attributes:
        shard: number of the file.
        first: place of the first atom in the shard.
        row: place of the frame in the shard.
        checksum: CRC-32 of its numbers, positions, state and labels.
        atoms: how many.
        formula: row of the table of formulas.
        cell: row of the table of cells.
        total_charge: e.
        gives_charge: whether the file has the total charge; False in older indices.
        energy: eV; NaN if there is none.
        labels: bit n is set if the frame has label n of the index.
        shortest: distance of two atoms, angstrom; infinite beyond the largest cutoff.
        extent: along the open direction of a slab, angstrom; else 0.
        file: row of the table of files.
        number: of the frame in its file.
        neighbors: most neighbours of an atom, for every cutoff.
        edges: sum of the numbers of neighbours, for every cutoff.
    """

    shard: np.ndarray
    first: np.ndarray
    row: np.ndarray
    checksum: np.ndarray
    atoms: np.ndarray
    formula: np.ndarray
    cell: np.ndarray
    total_charge: np.ndarray
    gives_charge: np.ndarray
    energy: np.ndarray
    labels: np.ndarray
    shortest: np.ndarray
    extent: np.ndarray
    file: np.ndarray
    number: np.ndarray
    neighbors: np.ndarray
    edges: np.ndarray


TYPES = {
    "shard": np.int32,
    "first": np.int64,
    "row": np.int32,
    "checksum": np.uint32,
    "atoms": np.int32,
    "formula": np.int32,
    "cell": np.int32,
    "total_charge": np.float64,
    "gives_charge": np.uint8,
    "energy": np.float64,
    "labels": np.uint32,
    "shortest": np.float32,
    "extent": np.float64,
    "file": np.int32,
    "number": np.int32,
    "neighbors": np.int32,
    "edges": np.int32,
}
"""Types of the columns."""


@dataclass(frozen=True, eq=False)
class Index:
    """All that is known of a data set without reading its shards.

    Attributes:
        columns: one entry for every frame.
        cutoffs: for which neighbours were counted, ascending, angstrom.
        labels: names of the labels that frames may have.
        keys: names of the labels in the files, by the names of `LabelKeys`.
        elements: atomic numbers, ascending.
        formulas: number of atoms of every element, (formulas, elements).
        cells: rows are lattice vectors, angstrom, (cells, 3, 3).
        pbc: periodic directions of every cell, (cells, 3).
        files: that the frames were read from.
        distances: shortest of two elements, by their places in `elements`, angstrom; infinite
            for pairs that no frame has within the largest cutoff.
        shards: name, bytes and SHA-256 of every shard.
    """

    columns: Columns
    cutoffs: tuple[float, ...]
    labels: tuple[str, ...]
    keys: dict[str, str]
    elements: np.ndarray
    formulas: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    files: tuple[str, ...]
    distances: np.ndarray
    shards: tuple[tuple[str, int, str], ...]

    def __len__(self) -> int:
        return len(self.columns.atoms)


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:05d}.h5"


def is_shards(path) -> bool:
    """True for a directory of shards."""
    return (Path(path) / INDEX).is_file()


def write_index(path: Path, index: Index) -> None:
    """Writes `index.h5`; HDF5 keeps a checksum of every block of it."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION})
        _put(file, "cutoffs", np.asarray(index.cutoffs))
        for name in ("elements", "formulas", "cells", "pbc", "distances"):
            _put(file, name, getattr(index, name))
        for name in ("labels", "files"):
            _put(file, name, np.asarray(getattr(index, name), h5py.string_dtype()))
        names, sizes, digests = zip(*index.shards, strict=True)
        _put(file, "shards/name", np.asarray(names, h5py.string_dtype()))
        _put(file, "shards/bytes", np.asarray(sizes, np.int64))
        _put(file, "shards/sha256", np.asarray(digests, h5py.string_dtype()))
        file.create_group("keys").attrs.update(index.keys)
        for column in fields(Columns):
            values = getattr(index.columns, column.name)
            _put(file, f"frames/{column.name}", values.astype(TYPES[column.name]))


def _put(file, name: str, values: np.ndarray) -> None:
    # The checksum is that of a chunk, and only arrays that are not empty have chunks.
    checked = {"fletcher32": True, "chunks": True} if values.size else {}
    if values.dtype.kind == "O":
        checked = {}
    file.create_dataset(name, data=values, **checked)


def read_index(folder) -> Index:
    """The index of a directory of shards, whose files must be there in full length.

    Raises:
        InputError: no index, a damaged one, one of another version, or a shard that is missing
            or was cut off; names the file.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise InputError(f"{folder}: no {INDEX}; jles data build FILES -o {folder} makes one")
    try:
        with h5py.File(path, "r") as file:
            check_version(file, path)
            index = _index(file)
    except InputError:
        raise
    except HDF5_ERRORS as error:
        raise InputError(
            f"{path}: damaged ({' '.join(str(error).split())[:120]}); {REBUILD}"
        ) from None
    for name, size, _ in index.shards:
        _check_size(Path(folder) / name, size)
    return index


REBUILD = "copy it again, or build the shards again"
"""Remedy for damage."""


def check_version(file, path) -> None:
    """Refuses an HDF5 file that is of another format or version.

    Raises:
        InputError: names the file, its version and the one that can be read.
    """
    found = file.attrs.get("format")
    if found != FORMAT:
        raise InputError(f"{path}: not a file of {FORMAT} (its format is {found!r})")
    version = int(file.attrs.get("version", -1))
    if version != VERSION:
        raise InputError(
            f"{path}: version {version} of {FORMAT}; this jles reads version {VERSION}: build "
            "the shards again"
        )


def _check_size(path: Path, size: int) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file, but the index names it; {REBUILD}")
    found = path.stat().st_size
    if found != size:
        raise InputError(f"{path}: {found} bytes, the index says {size}; {REBUILD}")


def _index(file) -> Index:
    columns = {name: file[f"frames/{name}"][:] for name in TYPES if name != "gives_charge"}
    known = file.get("frames/gives_charge")
    columns["gives_charge"] = np.zeros(len(columns["atoms"])) if known is None else known[:]
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"columns of different lengths {sorted(lengths)}")
    shards = file["shards"]
    names = zip(
        shards["name"].asstr()[:], shards["bytes"][:], shards["sha256"].asstr()[:], strict=True
    )
    return Index(
        columns=Columns(**columns),
        cutoffs=tuple(file["cutoffs"][:].tolist()),
        labels=tuple(file["labels"].asstr()[:].tolist()),
        keys={key: str(value) for key, value in file["keys"].attrs.items()},
        elements=file["elements"][:],
        formulas=file["formulas"][:],
        cells=file["cells"][:],
        pbc=file["pbc"][:],
        files=tuple(file["files"].asstr()[:].tolist()),
        distances=file["distances"][:],
        shards=tuple((str(name), int(size), str(digest)) for name, size, digest in names),
    )


@functools.cache
def label_widths() -> dict[str, tuple]:
    """By label: True if it is per atom, and the shape of its entries."""
    from jles.quantities.catalogue import labelled

    return {
        name: (quantity.per_atom, tuple(n for n in quantity.shape if n != "atoms"))
        for name, quantity in labelled().items()
    }
