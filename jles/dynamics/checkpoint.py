"""Everything a run needs to go on as if it had never stopped, in one file written at once."""

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import Anchor, Progress
from jles.dynamics.engine import Walk
from jles.dynamics.system import Room
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.electrostatics.sums.mesh import MeshPlan
from jles.errors import InputError
from jles.files import atomic_path

VERSION, READABLE = 3, (2, 3)


class Checkpoint(NamedTuple):
    """What was kept: a walk without its frame, and how much had been written.

    Attributes:
        progress: as NumPy arrays.
        anchor: places for which the neighbours were found.
        room: capacities.
        looked_at: step at which they were.
        written: host counts by name: frames of every kind, bytes of files.
    """

    progress: Progress
    anchor: Anchor
    room: Room
    looked_at: int
    written: dict


def save_checkpoint(path: Path, walk: Walk, written: dict) -> None:
    """Writes the file whole or not at all.

    Raises:
        InputError: the disk is full; the last checkpoint is as it was.
    """
    leaves = jax.device_get(jax.tree.leaves((walk.progress, walk.anchor)))
    about = {
        "version": VERSION,
        "room": walk.room._asdict(),
        "looked_at": walk.looked_at,
        "written": written,
    }
    arrays = {f"leaf{n}": np.asarray(leaf) for n, leaf in enumerate(leaves)}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def load_checkpoint(path: Path, like: Walk) -> Checkpoint:
    """What `save_checkpoint` wrote, in the form of a walk of the same run.

    Raises:
        InputError: there is no such file, it is damaged, or of a run of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            leaves = [stored[f"leaf{n}"] for n in range(len(stored.files) - 1)]
    except FileNotFoundError:
        raise InputError(f"{path}: there is no checkpoint to resume from; start anew") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(f"{path}: is damaged; start anew in another --out") from None
    if about.get("version") not in READABLE:
        raise InputError(
            f"{path}: is of another version of jles; finish it there, or start anew"
        )
    form = like.progress, like.anchor
    expected = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(form)]
    if expected != [(a.shape, a.dtype) for a in leaves]:
        raise InputError(f"{path}: is of another system, ensemble or precision")
    tree = jax.tree.structure(form)
    progress, anchor = jax.tree.unflatten(tree, map(jnp.asarray, leaves))
    return Checkpoint(
        progress, anchor, _room(about["room"]), about["looked_at"], about["written"]
    )


def _room(stored: dict) -> Room:
    """Capacities from JSON, in which named tuples are lists; version 2 had a `grid` alone."""
    values = dict(stored)
    if "grid" in values:
        grid = values.pop("grid")
        return Room(**values, plan=SumPlan(grid=grid and KGrid(*grid)))
    if values["plan"] is None:
        return Room(**values)
    kinds = {"grid": KGrid, "mesh": MeshPlan, "slab": SlabPlan}
    plan = dict(zip(SumPlan._fields, values.pop("plan"), strict=True))
    for name, kind in kinds.items():
        plan[name] = None if plan[name] is None else kind(*plan[name])
    return Room(**values, plan=SumPlan(**plan))
