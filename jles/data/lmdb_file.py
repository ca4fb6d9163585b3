"""A check of LMDB files before ASE opens them."""

from pathlib import Path

from jles.errors import InputError

SUFFIXES = frozenset({".aselmdb", ".lmdb"})
"""Names of LMDB databases of ASE end with these."""


def check_lmdb(path: Path) -> None:
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
