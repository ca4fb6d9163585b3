"""Checks of the directory of a run, and that a resumed one has the same settings and sum."""

from pathlib import Path

from jles.config import from_dict, read_yaml, to_dict
from jles.dynamics.checkpoint import Checkpoint
from jles.dynamics.config import MdConfig
from jles.electrostatics.plan import SumPlan, describe_plan
from jles.errors import InputError

RESTARTABLE = ("steps", "checkpoint", "block", "parallel")
"""Keys that may change when a run is resumed: the trajectory does not depend on them,
except for rounding on other devices."""


def check_place(out: Path) -> None:
    """Refuses to start a run in the directory of a model or a training.

    Raises:
        InputError: the run would replace their configuration.
    """
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
    if before.replace(**keep) == config:
        return
    old, new = to_dict(before), to_dict(config)
    changed = [key for key in old if old[key] != new[key] and key not in keep]
    raise InputError(
        f"{path}: the run was started with another '{changed[0]}'; resume it with the same one "
        f"(only {', '.join(keep)} may change)"
    )


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
