"""Checks of the directory of a run, and that a resumed one is the same run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jles.config import first_difference, from_dict, read_yaml, to_dict
from jles.dynamics.checkpoint import Checkpoint
from jles.dynamics.config import MdConfig
from jles.dynamics.trajectory import Trajectory
from jles.electrostatics.plan import SumPlan, describe_plan
from jles.errors import InputError
from jles.files import TRAJECTORY
from jles.lock import only_writer
from jles.models.config import ModelConfig
from jles.models.digest import digest_of
from jles.models.state import labels_of
from jles.models.state_config import SAME_CHARGE
from jles.models.store import flatten
from jles.predict.model import Model

RESTARTABLE = ("steps", "checkpoint", "block", "parallel")
"""Keys that may change when a run is resumed: the trajectory does not depend on them,
except for rounding on other devices."""


@contextmanager
def claimed(out: str | os.PathLike, resume: bool) -> Iterator[None]:
    """Holds the lock of a directory in which a run can start, or that holds one to resume.

    Raises:
        InputError: there is a run already, or none; the run would replace the configuration of
            a model or a training; or another process writes there.
    """
    with only_writer(out):
        _check_directory(Path(out), resume)
        yield


def checkpoint_of(out: Path) -> Path:
    """The file that a run in this directory continues from."""
    return out / "checkpoint" / "state.npz"


def _check_directory(out: Path, resume: bool) -> None:
    has_run = (out / TRAJECTORY).exists()
    if has_run and not resume:
        raise InputError(
            f"{out}: already holds a run; give --resume to continue it, or another --out"
        )
    if resume and not has_run:
        raise InputError(f"{out}: holds no run to resume; leave out --resume")
    if not resume:
        _check_place(out)


def _check_place(out: Path) -> None:
    config = out / "config.yaml"
    if (out / "train.yaml").exists() or (config.exists() and "steps" not in read_yaml(config)):
        raise InputError(f"{out}: holds a model or a training; give another --out")


def check_config(path: Path, config: MdConfig) -> None:
    """Refuses to resume a run with other settings than it was started with.

    Args:
        path: the run's `config.yaml`.
        config: settings now.

    Raises:
        InputError: a key other than `RESTARTABLE` has changed.
    """
    before = from_dict(MdConfig, read_yaml(path), str(path))
    keep = {key: getattr(config, key) for key in RESTARTABLE}
    if config.ensemble.temperature_end is not None:
        keep.pop("steps")
    changed = first_difference(to_dict(before.replace(**keep)), to_dict(config))
    if changed:
        name, old, new = changed
        raise InputError(
            f"{path}: --resume with another config ({name} was {old!r}, now {new!r}); resume "
            f"with the same one (only {', '.join(keep)} may change)"
        )


_WORDS = {"numbers": "atoms", "masses": "masses", "pbc": "periodic directions (pbc)"}


def arrays_of(atoms) -> dict[str, np.ndarray]:
    """Elements, masses (u) and `pbc` of a run, as its trajectory holds them."""
    return {"numbers": atoms.numbers, "masses": atoms.get_masses(), "pbc": atoms.pbc}


def check_same_atoms(trajectory: Trajectory, atoms) -> None:
    """Refuses to resume a run with other atoms, masses or `pbc`; positions may be any.

    Raises:
        InputError: names what differs, or the trajectory is damaged.
    """
    now = arrays_of(atoms)
    for name, before in trajectory.constants(now).items():
        same = before.shape == now[name].shape
        # A file of text may hold rounded masses.
        if not (same and np.allclose(before, now[name], rtol=1e-6, atol=0.0)):
            raise InputError(
                f"{trajectory.path}: the run was started with other {_WORDS[name]}; "
                "resume it with its own start"
            )


def identity_of(model: Model, atoms) -> dict:
    """What a run must keep besides settings and atoms, for JSON: model, charge, labels."""
    labels = labels_of(atoms, model.config.state, model.state_key, model.where)
    return {
        "model": to_dict(model.config),
        "parameters": digest_of(flatten(model.params)),
        "total_charge": model.total_charge(atoms),
        "state": None if labels is None else [int(label) for label in labels],
    }


def check_identity(path: Path, before: dict | None, now: dict) -> None:
    """Refuses to resume a run with another model, total charge or state of the atoms.

    Args:
        path: of the checkpoint.
        before: `identity_of` the run; None in checkpoints of older versions.
        now: `identity_of` what is to be resumed.

    Raises:
        InputError: names what differs.
    """
    if before is None:
        return
    changed = _changed_key(path, before["model"], now["model"])
    if changed or before["parameters"] != now["parameters"]:
        what = f"its '{changed}' differs" if changed else "its parameters differ"
        raise InputError(
            f"{path}: the run was started with another model ({what}); resume it with the same"
        )
    charges = before["total_charge"], now["total_charge"]
    if abs(charges[0] - charges[1]) > SAME_CHARGE:
        raise InputError(
            f"{path}: the run was started with a total charge of {charges[0]:g} e, not "
            f"{charges[1]:g} e; resume it with its own start"
        )
    if before["state"] != now["state"]:
        raise InputError(
            f"{path}: the run was started with other state labels; resume it with its own start"
        )


def _changed_key(path: Path, before: dict, now: dict) -> str | None:
    """The first key of a model that differs, except how its sum is computed.

    Keys that an older version did not have count with their defaults.
    """
    before, now = (
        to_dict(from_dict(ModelConfig, values, f"{path}: model")) for values in (before, now)
    )
    sums = {key: now["electrostatics"][key] for key in ("method", "accuracy")}
    before["electrostatics"] |= sums
    return next((key for key in now if before[key] != now[key]), None)


def sum_settings(plan: SumPlan | None, accuracy: float) -> dict:
    """`method` and `accuracy` of a reciprocal sum; None where they have no meaning."""
    method = None if plan is None else plan.method
    return {"method": method, "accuracy": accuracy if method == "mesh" else None}


def check_sum(path: Path, kept: Checkpoint, plan: SumPlan | None, accuracy: float) -> None:
    """Refuses to resume a run with another electrostatic sum than it was started with.

    Checkpoints of older versions lack the accuracy; for them the spline orders are compared.

    Args:
        path: of the checkpoint.
        kept: contents of the checkpoint.
        plan: of the sum, as the model is loaded now.
        accuracy: of the model now.

    Raises:
        InputError: another method, or another accuracy of the particle mesh.
    """
    before = kept.capacity.plan or SumPlan()
    now = plan or SumPlan()
    if kept.electrostatics is None:
        orders = [p.mesh and p.mesh.order for p in (before, now)]
        same = before.method == now.method and orders[0] == orders[1]
        settings = {"method": before.method, "accuracy": None}
    else:
        settings = kept.electrostatics
        same = settings == sum_settings(now, accuracy)
    if same:
        return
    options = " ".join(f"--{name} {value}" for name, value in settings.items() if value)
    if before.method == "mesh" and settings["accuracy"] is None:
        options += " and the --accuracy of its start"
    raise InputError(
        f"{path}: the run was started with another electrostatic sum "
        f"({describe_plan(before, settings['accuracy'])}); "
        f"resume it with {options or 'the model and the structure of its start'}"
    )
