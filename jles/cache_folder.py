"""The folder in which the program `jles` keeps compiled code between runs.

Only the program uses it, see `use_compilation_cache`; `import jles` does not.
"""

import hashlib
import os
import platform
from pathlib import Path

VARIABLE = "JLES_COMPILATION_CACHE"
"""Environment variable: a folder, or "off"."""

LARGEST = 2 * 2**30
"""Bytes. A larger cache is cut to half of this, oldest entries first."""

_enabled: list[Path] = []


def cache_folder() -> Path | None:
    """The folder of compiled code: what `VARIABLE` says, or `jles` in the user's cache folder.

    The last part of the path is a digest of the processor's instruction set, since a home
    directory may be shared by machines that cannot run each other's code.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() in ("off", "0", "no", "false"):
        return None
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(chosen) if chosen else caches / "jles" / "compiled") / _machine()


def use_compilation_cache() -> None:
    """Makes JAX keep compiled code in `cache_folder`; to be called before JAX is imported.

    Settings of the user (`JAX_COMPILATION_CACHE_DIR`) have priority. A folder that cannot be
    written is not used.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder()
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        trim(folder)
    except (OSError, RuntimeError):  # no home directory, no permission
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    # XLA logs an error of 2,000 characters for every function that it loads on a CPU, although
    # the code is for this very CPU: it takes a tuning flag for an instruction set.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _enabled.append(folder)


def times_file() -> Path:
    """The file of measured compilation times.

    Raises:
        FileNotFoundError: no cache is in use.
    """
    if not _enabled:
        raise FileNotFoundError("no compilation cache is in use")
    return _enabled[-1] / "times.json"


def trim(folder: Path, largest: int = LARGEST) -> None:
    """Removes the oldest files of a folder of more than `largest` bytes, down to half of it."""
    found = [(entry.stat(), entry.path) for entry in os.scandir(folder) if entry.is_file()]
    total = sum(stat.st_size for stat, _ in found)
    if total <= largest:
        return
    for stat, path in sorted(found, key=lambda item: item[0].st_mtime):
        Path(path).unlink(missing_ok=True)
        total -= stat.st_size
        if total <= largest // 2:
            return


def _machine() -> str:
    """A digest of the machine: architecture and instruction set of the processor."""
    text = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text("utf-8", "replace").splitlines()
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]
