"""Neighbour tables cached on disk, named after a hash of their input."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from jles.data.frames import Frame
from jles.files import atomic_path
from jles.structures.neighbors import NeighborTable, find_neighbors

# Part of the hash: increase it when the meaning of a table changes.
_FORMAT = "jles neighbors 1"


def cached_neighbors(frame: Frame, cutoff: float, cache_dir=None) -> NeighborTable:
    """The neighbour table of a frame, from the cache if possible.

    A file that is damaged or does not fit the frame is replaced.

    Args:
        frame: only its positions, cell and pbc matter.
        cutoff: angstrom.
        cache_dir: folder of the cache; None for no cache.
    """
    if cache_dir is None:
        return find_neighbors(frame.positions, frame.cell, frame.pbc, cutoff)
    path = Path(cache_dir) / f"{fingerprint(frame, cutoff)}.npz"
    table = _read(path, len(frame.positions))
    if table is None:
        table = find_neighbors(frame.positions, frame.cell, frame.pbc, cutoff)
        with atomic_path(path) as temporary:
            np.savez(temporary, **table._asdict())
    return table


def fingerprint(frame: Frame, cutoff: float) -> str:
    """SHA-256 of all that a neighbour table depends on."""
    digest = hashlib.sha256(_FORMAT.encode())
    for array in (frame.positions, frame.cell, frame.pbc, np.float64(cutoff)):
        # The lengths make the concatenation of the arrays unique.
        data = np.ascontiguousarray(array).tobytes()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(path: Path, n_atoms: int) -> NeighborTable | None:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            table = NeighborTable(*(file[name] for name in NeighborTable._fields))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        # Damaged files raise any of these; RuntimeError is for unknown flags.
        return None
    fits = (
        table.index.ndim == 2
        and len(table.index) == n_atoms
        and table.mask.shape == table.index.shape
        and table.shift.shape == (*table.index.shape, 3)
        and table.mask.dtype == bool
        and table.index.dtype == table.shift.dtype == np.int32
        and table.index.min(initial=0) >= 0
        and table.index.max(initial=0) < n_atoms
    )
    return table if fits else None
