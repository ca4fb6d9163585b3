"""Rows of a database of ASE (SQLite, JSON, LMDB) as atoms with their values and data."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from jles.errors import InputError

LMDB = frozenset({".aselmdb", ".lmdb"})
"""Names of LMDB databases of ASE end with these."""


def database_atoms(path: Path, kind: str, index: str = ":") -> Iterator:
    """The rows as `ase.Atoms`; their data and key-value pairs are values in `info`.

    The reader of ASE leaves these out.

    Args:
        path: of the database.
        kind: "db", "json" or "lmdb", whatever the name ends with.
        index: which rows: a number or range as in `ase.io.read`, or a query of ASE.

    Raises:
        InputError: a damaged LMDB file, a missing package, a range with another step than 1.
        Others of many types from ASE.
    """
    with _opened(path, kind) as rows:
        selection = _selection(rows, path, index)
        for row in () if selection is None else rows.select(**selection):
            atoms = row.toatoms()
            atoms.info.update({**row.data, **row.key_value_pairs})
            yield atoms


@contextlib.contextmanager
def _opened(path: Path, kind: str) -> Iterator:
    from ase.db import connect
    from ase.io.formats import open_with_compression

    if kind != "json":
        yield _connected(path, kind)
        return
    with open_with_compression(str(path), "r") as file:
        yield connect(file, type=kind, use_lock_file=False)


def _connected(path: Path, kind: str):
    from ase.db import connect

    if kind == "db":
        return connect(str(path), type=kind, use_lock_file=False)
    _check_lmdb(path)
    try:
        return connect(str(path), use_lock_file=False, type="aselmdb", readonly=True)
    except (ImportError, KeyError, AssertionError):
        raise InputError(
            f"{path}: reading LMDB needs the package ase-db-backends; install it with "
            "pip install 'jles[lmdb]'"
        ) from None


def _selection(rows, path: Path, index: str) -> dict | None:
    """Arguments of `select`; None for no rows, which it cannot express."""
    from ase.io.formats import string2index

    if index == ":":
        return {}
    try:
        chosen = string2index(index)
    except ValueError:
        chosen = index
    if isinstance(chosen, str):
        return {"selection": chosen}
    if isinstance(chosen, int):
        chosen = slice(chosen, chosen + 1 or None)
    start, stop, step = chosen.indices(rows.count())
    if step != 1:
        raise InputError(f"{path}@{index}: rows of a database are read in steps of 1")
    return {"offset": start, "limit": stop - start} if stop > start else None


def _check_lmdb(path: Path) -> None:
    """Opens and closes an LMDB file; the reader of ASE prints a traceback for a damaged one.

    Without the package lmdb nothing is checked.

    Raises:
        InputError: the file is damaged or no LMDB file.
    """
    try:
        import lmdb
    except ImportError:
        return
    try:
        lmdb.open(str(path), subdir=False, readonly=True, lock=False).close()
    except lmdb.Error as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: cannot be read as LMDB ({reason})") from None
