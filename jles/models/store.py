"""The model directory: config.yaml, params.safetensors, metrics.json, README.md.

`config.yaml` holds everything needed to rebuild the model, and the digest of its parameters. It
is renamed last, so a directory with a config is a complete model.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from jles.config import Config, Finite, from_dict, read_yaml, to_dict
from jles.errors import InputError
from jles.files import atomic_path
from jles.models.config import ModelConfig
from jles.models.describe import description
from jles.strict_yaml import to_yaml
from jles.structures.distances import read_range

FORMAT_VERSION = 2
UNITS = {"length": "angstrom", "energy": "eV", "charge": "e", "stress": "eV/angstrom^3"}


class StoredModel(NamedTuple):
    """The contents of a model directory; no code depends on `training` and `metrics`."""

    config: ModelConfig
    params: dict
    training: dict
    metrics: dict


_FILES = ("config.yaml", "params.safetensors", "metrics.json", "README.md")


def check_free(path) -> None:
    """Refuses a directory with files that a new model would replace.

    Raises:
        InputError: names the directory and the file.
    """
    for name in _FILES:
        if (Path(path) / name).exists():
            held = "already holds a model or a run" if name == _FILES[0] else f"has a {name}"
            raise InputError(f"{path}: {held}, which would be replaced; give another directory")


def save_model(path, config: ModelConfig, params, metrics=None, training=None) -> None:
    """Writes a model directory; if that fails, an existing one stays as it was.

    Args:
        path: the directory; created if needed.
        config: the model.
        params: nested dict of arrays.
        metrics: errors to show in `metrics.json`, e.g. {"valid": {"forces_rmse": 0.02}}.
        training: origin of the model, kept in `config.yaml`.

    Raises:
        InputError: the disk is full or the directory cannot be written.
    """
    from safetensors.numpy import save

    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    flat = {name: np.asarray(value, order="C") for name, value in flatten(params).items()}
    blob = save(dict(sorted(flat.items())))
    record = {
        "format": FORMAT_VERSION,
        "units": UNITS,
        "params_sha256": hashlib.sha256(blob).hexdigest(),
        "model": to_dict(config),
        "training": training or {},
    }
    files = {
        "config.yaml": to_yaml(record),
        "README.md": _readme(config, params, training or {}, metrics or {}),
        "metrics.json": json.dumps(metrics or {}, indent=2) + "\n",
        "params.safetensors": blob,
    }
    # All are written before any is renamed; the stack renames last in, first out.
    with contextlib.ExitStack() as stack:
        for name, content in files.items():
            temporary = stack.enter_context(atomic_path(path / name))
            with open(temporary, "wb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())


def remove_model(path) -> None:
    """Removes a model directory, except for files in it that do not belong to the model."""
    path = Path(path)
    with contextlib.suppress(OSError):
        # First the config, without which the rest is no model.
        for name in _FILES:
            (path / name).unlink(missing_ok=True)
        path.rmdir()


def read_model(path) -> StoredModel:
    """Reads a model directory.

    Raises:
        InputError: a file is missing or damaged, belongs to another model, or has a newer
            format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    file = path / "config.yaml"
    if not file.is_file():
        raise InputError(f"{path}: {_no_model(path)}")
    record = read_yaml(file)
    _check_format(file, record)
    config = from_dict(ModelConfig, record["model"], f"{file}: model")
    weights = path / "params.safetensors"
    try:
        blob = weights.read_bytes()
    except OSError as error:
        raise InputError(f"{weights}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(blob).hexdigest() != record.get("params_sha256"):
        raise InputError(
            f"{weights}: damaged or of another model: its SHA-256 is not the params_sha256 of "
            f"config.yaml; copy the directory again ({len(blob)} bytes here)"
        )
    try:
        flat = load(blob)
    except SafetensorError as error:
        raise InputError(f"{weights}: not a safetensors file ({error})") from None
    params = unflatten(_fitting(config, flat, path))
    training = _checked_training(record["training"] or {}, f"{file}: training")
    return StoredModel(config, params, training, _read_metrics(path))


def _no_model(path: Path) -> str:
    """Why there is no model at `path`, and what to do."""
    if path.name in _FILES and path.is_file():
        return f"is a file of a model; give its directory, {path.parent}"
    if path.is_file():
        reason = "is a file, not a model directory"
        if path.suffix in {".pth", ".pt", ".model"}:
            reason += f"; convert it with `jles import-torch {path} -o DIR`"
        return reason
    if not path.is_dir():
        return "no such directory"
    if (path / "train.yaml").is_file():
        best = path / "best_before_stop"
        return (
            "its training has not finished, so there is no model yet; continue it with "
            f"`jles train CONFIG.yaml --out {path} --resume`"
            f"{f', or take {best}' if best.is_dir() else ''}"
        )
    return "not a model directory (it has no config.yaml)"


class _Training(Config):
    """The keys of `training` that are read again; it may have others."""

    neighbors: Annotated[float, Meta(ge=0.0, le=1e9)] = 0.0
    label_keys: dict[str, str] = {}
    distances: dict[str, Any] = {}
    trained_elements: tuple[str, ...] = ()
    total_charges: tuple[Finite, ...] = ()
    charges_by_formula: dict[str, tuple[Finite, ...]] = {}
    dtype: Literal["float32", "float64"] = "float32"


def _checked_training(training, where: str) -> dict:
    """The section, if all that is read of it has the right type."""
    if not isinstance(training, dict):
        raise InputError(f"{where}: is {str(training)[:40]!r}; it must be a mapping")
    read = {key: training[key] for key in _Training.__struct_fields__ if key in training}
    from_dict(_Training, read, where)
    try:
        read_range(training.get("distances", {}))
    except InputError as error:
        raise InputError(f"{where}.distances: {error}") from None
    return training


def _fitting(config: ModelConfig, flat: dict, path: Path) -> dict:
    """The parameters; refuses those that do not fit the config, which was edited then."""
    import jax

    from jles.models.potential import build_potential

    needed = jax.eval_shape(build_potential(config).init, jax.random.key(0))
    need = {name: leaf.shape for name, leaf in flatten(needed).items()}
    # Earlier versions wrote single numbers with the shape (1,).
    old = [name for name, leaf in flat.items() if (need.get(name), leaf.shape) == ((), (1,))]
    flat = flat | {name: flat[name].reshape(()) for name in old}
    have = {name: leaf.shape for name, leaf in flat.items()}
    for name in sorted(need.keys() | have.keys()):
        if need.get(name) != have.get(name):
            raise InputError(
                f"{path / 'config.yaml'}: describes another model than params.safetensors: "
                f"'{name}' should have shape {need.get(name)}, the file has {have.get(name)}"
            )
    return flat


def _read_metrics(path: Path) -> dict:
    file = path / "metrics.json"
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: damaged ({error}); copy or delete it") from None


def _check_format(file: Path, record: dict) -> None:
    version = record.get("format")
    if not isinstance(version, int) or "model" not in record:
        raise InputError(
            f"{file}: not the config of a model (keys 'format' and 'model' needed)"
        )
    if version > FORMAT_VERSION:
        raise InputError(
            f"{file}: format {version} is newer than this jles reads (up to {FORMAT_VERSION}); "
            "update jles"
        )
    if "training" not in record:
        # This is the last key of the file: without it, others may be missing as well.
        raise InputError(f"{file}: cut off (no key 'training'); copy the directory again")


def flatten(tree: dict, prefix: str = "") -> dict:
    """A flat dict with dotted names from a nested dict; leaves are not changed."""
    flat = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value
    return flat


def unflatten(flat: dict) -> dict:
    """The inverse of `flatten`."""
    tree: dict = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def _readme(config: ModelConfig, params: dict, training: dict, metrics: dict) -> str:
    lines = ["# A jles model", ""]
    lines += [f"- {name}: {value}" for name, value in description(config, params).items()]
    lines.append(f"- units: {', '.join(f'{key} {unit}' for key, unit in UNITS.items())}")
    lines += [
        f"- {key}: {value}" for key, value in training.items() if not isinstance(value, dict)
    ]
    lines += ["", "```python", "import jles", 'model = jles.load("this directory")', "```"]
    if metrics:
        lines += ["", "```json", json.dumps(metrics, indent=2), "```"]
    return "\n".join(lines) + "\n"
