"""A lock on a directory, so that two runs cannot write into it at the same time."""

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jles.errors import InputError
from jles.files import unwritable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
"""Name of the lock file; it is there while a process writes into the directory."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def only_writer(directory: str | os.PathLike) -> Iterator[None]:
    """Holds the lock of a directory, which is created if needed.

    The lock is one of the operating system (`flock`): it ends with the process, also if that is
    killed. At the end the lock file is removed, and so are folders that were created here and
    are still empty. Readers of the directory need no lock.

    Raises:
        InputError: another process holds the lock (it is named), or the directory cannot be
            written.
    """
    directory = Path(directory)
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _locked(directory / LOCK, directory)
    except OSError as error:
        _remove_empty(missing)
        raise unwritable(directory, error) from None
    try:
        yield
    finally:
        # Removed while it is locked, so that the name never refers to a lock that is not held.
        (directory / LOCK).unlink(missing_ok=True)
        os.close(file)
        _remove_empty(missing)


def check_no_writer(directory: str | os.PathLike) -> None:
    """Refuses a directory that a run writes into; for commands that add one file to a folder.

    Raises:
        InputError: another process holds the lock; it is named.
    """
    directory = Path(directory)
    try:
        file = os.open(directory / LOCK, os.O_RDONLY)
    except OSError:
        return
    try:
        _flock(file, directory)
    finally:
        os.close(file)


def _locked(path: Path, directory: Path) -> int:
    """The descriptor of the lock file, locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _flock(file, directory)
            # Between opening and locking, the previous holder may have removed the file.
            if _is_same(file, path):
                _sign(file)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _flock(file: int, directory: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 200, 0).decode("utf-8", "replace").strip()
        raise InputError(
            f"{directory}: {holder or 'another process'} is writing into it; wait until it has "
            "ended, or give another --out"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warning = "its file system has no locks; start no second run there"
        print(f"{directory}: {warning}", file=sys.stderr, flush=True)


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    """Writes which process holds the lock."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"process {os.getpid()} on {socket.gethostname()} (since {since})\n"
    # A full disk is reported by the first file that matters.
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode(), 0)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
