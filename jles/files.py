"""Atomic writing of files."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from jles.errors import InputError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a full disk."""

HDF5_ERRORS = (OSError, RuntimeError, LookupError, TypeError, ValueError)
"""Exceptions of h5py for damaged files."""

TRAJECTORY, TRAJECTORY_FORMAT, TRAJECTORY_VERSION = "trajectory.h5", "jles-trajectory", 1
"""Name, format and version of the file that `jles md` writes and `jles analyse` reads."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path`, which is renamed to `path` at the end.

    The temporary name has the suffix of `path`, from which some writers infer the format. After
    an exception the temporary file is removed and an older `path` is unchanged.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    # Processes on several machines may share a folder, and have the same process number.
    number = f"{os.getpid()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.stem}.{number}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        yield temporary
        _flush_and_rename(temporary, path)
    except OSError as error:
        # Other errors may concern another file, which they name themselves.
        if error.errno not in NO_ROOM:
            raise
        raise unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a whole file (text as UTF-8), or leaves the old one unchanged.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_room(folder: str | os.PathLike, size: int) -> None:
    """Checks that `size` bytes fit on the disk of a folder, which is created if needed.

    For writers that cannot report a full disk in one line.

    Raises:
        OSError: they do not fit, or the folder cannot be written.
    """
    probe = Path(folder) / f".room.{os.getpid()}.partial"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _flush_and_rename(temporary: Path, path: Path) -> None:
    # Some file systems report a full disk only when the data is flushed.
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    try:
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> InputError:
    """The error of a place that cannot be written, as one line."""
    remedy = "free some space" if error.errno in NO_ROOM else "choose another place"
    return InputError(
        f"{path}: cannot be written ({error.strerror}); {remedy}; nothing was changed there"
    )
