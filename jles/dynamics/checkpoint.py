"""Checkpoints: everything needed to continue a run exactly, in one file written atomically."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import BlockState
from jles.dynamics.engine import RunState
from jles.dynamics.system import Capacity
from jles.electrostatics.plan import SlabPlan, SumPlan, largest_grid
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.mesh import MeshPlan
from jles.errors import InputError
from jles.files import atomic_path
from jles.structures.skin import Reference

VERSION, READABLE = 6, (2, 3, 4, 5, 6)

_FORMER_KEYS = {"room": "capacity", "looked_at": "rebuilt_at"}
"""Keys of versions 2 and 3, and their present names."""


class Checkpoint(NamedTuple):
    """Contents of a checkpoint: a `RunState` without its neighbour list, and what was written.

    Attributes:
        loop: motion and step.
        reference: positions and cell for which the neighbour list was made.
        capacity: sizes of the neighbour list.
        rebuilt_at: step at which the neighbour list was made.
        written: by name, number of frames of every kind and bytes of files.
        electrostatics: `method` and `accuracy` of the electrostatic sum; None in checkpoints
            of older versions.
        identity: of the run, see `jles.dynamics.resume`; None in checkpoints of older versions.
    """

    loop: BlockState
    reference: Reference
    capacity: Capacity
    rebuilt_at: int
    written: dict
    electrostatics: dict | None = None
    identity: dict | None = None


def save_checkpoint(
    path: Path,
    state: RunState,
    written: dict,
    electrostatics: dict | None = None,
    identity: dict | None = None,
) -> None:
    """Writes a checkpoint completely or not at all; see `Checkpoint`.

    Raises:
        InputError: the disk is full; the previous checkpoint is intact.
    """
    leaves = jax.device_get(jax.tree.leaves((state.loop, state.reference)))
    capacity = state.capacity._asdict()
    # Planned again by the first search.
    del capacity["search"], capacity["rows"]
    about = {
        "version": VERSION,
        "capacity": capacity,
        "rebuilt_at": state.rebuilt_at,
        "written": written,
        "electrostatics": electrostatics,
        "identity": identity,
    }
    arrays = {f"leaf{n}": np.asarray(leaf) for n, leaf in enumerate(leaves)}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def load_checkpoint(path: Path, template: RunState) -> Checkpoint:
    """Reads a checkpoint of this or an earlier version.

    Args:
        path: file that `save_checkpoint` wrote.
        template: a state of the same run, which gives the tree structure, shapes and dtypes.

    Raises:
        InputError: the file is missing or damaged, or belongs to another kind of run.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            leaves = [stored[f"leaf{n}"] for n in range(len(stored.files) - 1)]
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no checkpoint to resume from; start anew in another --out"
        ) from None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: is damaged; start anew in another --out") from None
    if about.get("version") not in READABLE:
        raise InputError(
            f"{path}: is of another version of jles; finish the run with it, or start anew"
        )
    if about["version"] < 6 and template.loop.motion.polarization is not None:
        raise InputError(
            f"{path}: is of a jles that took another polarization at a fixed displacement; "
            "start anew in another --out"
        )
    expected, tree = jax.tree.flatten((template.loop, template.reference))
    if [(a.shape, a.dtype) for a in expected] != [(a.shape, a.dtype) for a in leaves]:
        raise InputError(
            f"{path}: is of another system, ensemble or precision; "
            "resume it with its own config"
        )
    loop, reference = jax.tree.unflatten(tree, map(jnp.asarray, leaves))
    about = {_FORMER_KEYS.get(key, key): value for key, value in about.items()}
    capacity = _capacity(about["capacity"])
    return Checkpoint(
        loop,
        reference,
        capacity,
        about["rebuilt_at"],
        about["written"],
        about.get("electrostatics"),
        about.get("identity"),
    )


def _capacity(stored: dict) -> Capacity:
    """Capacity from JSON, where named tuples are lists; version 2 has a grid, not a plan."""
    values = dict(stored)
    if "grid" in values:
        grid = values.pop("grid")
        return Capacity(**values, plan=SumPlan(grid=grid and KGrid(*grid)))
    if values["plan"] is None:
        return Capacity(**values)
    kinds = {"grid": KGrid, "mesh": MeshPlan, "slab": SlabPlan}
    plan = dict(zip(SumPlan._fields, values.pop("plan"), strict=True))
    for name, kind in kinds.items():
        plan[name] = None if plan[name] is None else kind(*plan[name])
    if plan["mesh"] is not None and plan["grid"] is None:
        # Before, a mesh had no grid. This one holds every wave, so that the plan need not grow.
        plan["grid"] = largest_grid(plan["mesh"])
    return Capacity(**values, plan=SumPlan(**plan))
