"""A machine as described in a bug report: versions, devices, settings, folders."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from jles.cache_folder import VARIABLE, cache_folder
from jles.version import __version__

FORBIDDEN = {
    ("jax", "0.10.2"): "is reported to miscompile on CPUs",
    ("jaxlib", "0.10.2"): "is reported to miscompile on CPUs",
    ("jax", "0.11.1"): "breaks the import of flax",
    ("jaxlib", "0.11.1"): "breaks the import of flax",
}
"""Releases that jles excludes, with the reason."""

# The program sets these itself, before JAX is imported.
_SHOWN_AS_FOLDER = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        name: what it is about.
        value: what was found.
        problem: what is wrong with it, and a remedy; empty if nothing is.
    """

    name: str
    value: str
    problem: str = ""


def packages() -> Iterator[Finding]:
    """Versions of jles, Python and every package that jles needs."""
    yield Finding("jles", f"{__version__} ({Path(__file__).resolve().parents[1]})")
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    for name, needed in needed_packages().items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, "missing", f"{name} is not installed; install jles with pip")
            continue
        yield Finding(name, found, _problem(name, found, needed))


def _problem(name: str, found: str, needed) -> str:
    """What is wrong with a version; empty if nothing is."""
    if reason := FORBIDDEN.get((name, found)):
        return f"{name} {found} {reason}; install another version"
    if needed.contains(found, prereleases=True):
        return ""
    return (
        f"{name} {found} is installed, but jles needs {name}{needed}; "
        f"run pip install '{name}{needed}'"
    )


def needed_packages() -> dict:
    """Versions (`SpecifierSet`) by name of the packages that jles needs, from its metadata."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        lines = requires("jles") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        lines = ["jax", "jaxlib", "flax", "numpy", "scipy", "ase", "msgspec", "vesin"]
    needed: dict[str, SpecifierSet] = {}
    for each in map(Requirement, lines):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            needed[each.name] = needed.get(each.name, SpecifierSet()) & each.specifier
    return dict(sorted(needed.items()))


def devices() -> Iterator[Finding]:
    """The devices of JAX and the precision it computes with by default."""
    import jax

    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:
        # For a platform that has no plugin, JAX fails in an assertion without text.
        wanted = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
        text = " ".join(str(error).split()) or wanted
        yield Finding("devices", "none", f"JAX finds no device ({text}); set JAX_PLATFORMS=cpu")
        return
    kinds = sorted({device.device_kind for device in found})
    yield Finding("devices", f"{len(found)} x {', '.join(kinds)} ({jax.default_backend()})")
    yield Finding("processors", str(_usable_processors()))
    default = "float64" if jax.config.jax_enable_x64 else "float32"
    yield Finding("precision of arrays", f"{default} by default; commands take --dtype")
    products = jax.config.jax_default_matmul_precision or "chosen by jles"
    yield Finding("precision of products", str(products))


def _usable_processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def settings() -> Iterator[Finding]:
    """Environment variables of jles, JAX and XLA."""
    chosen = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(("JAX_", "JLES_", "XLA_", "CUDA_")) and name not in _SHOWN_AS_FOLDER
    }
    if not chosen:
        yield Finding("environment", "no variable of JAX, XLA or jles is set")
    for name, value in chosen.items():
        yield Finding(name, value)


def folders(data: Path) -> Iterator[Finding]:
    """The compilation cache and the folder of named data sets.

    Args:
        data: folder of the named data sets.
    """
    yield _cache()
    if data.is_dir():
        count = sum(entry.is_dir() for entry in data.iterdir())
        yield Finding("named data sets", f"{count} folders in {data}")
    else:
        yield Finding("named data sets", f"none ({data}); only experiments and tests use them")


def _cache() -> Finding:
    name = "compilation cache"
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(own) if own else cache_folder()
    if folder is None:
        return Finding(name, f"off ({VARIABLE})")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    wrong = "is not a folder" if not there.is_dir() else "cannot be written"
    if not (there.is_dir() and os.access(there, os.W_OK)):
        problem = f"{there} {wrong}; set {VARIABLE} to another folder, or to off"
        return Finding(name, str(folder), problem)
    if there != folder:
        return Finding(name, f"{folder} (not there yet)")
    size = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    return Finding(name, f"{folder}, {size / 2**20:.0f} MiB")
