"""Sharded against unsharded results, for tests/project/test_devices.py; prints one JSON line.

Its arguments are names of `PARTS`. Run with four devices
(XLA_FLAGS=--xla_force_host_platform_device_count=4).
"""

import json
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jles.electrostatics import (
    Multipoles,
    Response,
    energy_of_sums,
    lattice_sum,
    partial_sums,
    plan_sum,
    self_energy,
)
from jles.electrostatics.sums.mesh import MeshPlan
from jles.local_devices import LocalDevices
from jles.models.config import ReadoutConfig
from jles.train.config import OptimizerConfig
from jles.train.losses import Weights
from jles.train.optimizer import build_optimizer
from jles.train.parallel import Devices, choose_devices
from jles.train.step import build_steps
from tests.support.small_systems import (
    mixed_frames,
    small_backbone,
    small_config,
    small_model,
)
from tests.support.training import frames_of, loader_of

COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
WHOLE = PartitionSpec()
MUON = OptimizerConfig(name="muon")
AXES = ("Explicit", "Auto")
ATOMS, EDGE, SIGMA, K_MAX = 32, 7.0, 1.0, 2.5
DEVICES = PartitionSpec("devices")
BY_ATOMS = (
    "positions",
    "numbers",
    "mask",
    "neighbor_index",
    "neighbor_shift",
    "neighbor_mask",
)


def mesh_with(axes: str):
    return jax.make_mesh((4,), ("devices",), axis_types=(getattr(AxisType, axes),))


def put(tree, mesh, spec=WHOLE):
    return jax.device_put(tree, NamedSharding(mesh, spec))


def errors(found, expected) -> list[float]:
    """Largest differences of every array, relative to its largest entry."""
    return [
        float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))
        for a, b in zip(
            *(map(np.asarray, jax.tree.leaves(tree)) for tree in (found, expected)), strict=True
        )
    ]


def random_multipoles(atoms: int):
    rng = np.random.default_rng(0)
    moments = (jnp.asarray(rng.normal(size=(atoms, *s))) for s in ((), (3,), (3, 3)))
    return Multipoles(*moments), jnp.asarray(rng.uniform(0.0, EDGE, (atoms, 3)))


def shards_of_atoms(method: str, order: int) -> dict:
    """Energy and gradient, with `shard_map` and without.

    An `order` of 2 adds their derivatives along a direction.
    """
    # With so many atoms and blocks of the mesh a device spreads its tiles in two steps.
    moments, positions = random_multipoles(640)
    cell = EDGE * jnp.eye(3)
    plan = plan_sum(cell, positions, True, k_max=K_MAX)
    if method == "mesh":
        plan = plan._replace(mesh=MeshPlan(48, 48, 48, 6))

    def energy(moments, positions, cell, add=lambda parts: parts):
        parts = partial_sums(moments, positions, cell, plan, chunk=80)
        total, own = add((parts, self_energy(moments, SIGMA)))
        options = {"sigma": SIGMA, "k_max": K_MAX, "cutoff": "smooth"}
        return energy_of_sums(total, cell, plan, **options) - own

    def of_shard(*arrays):
        return energy(*arrays, add=lambda parts: jax.lax.psum(parts, "devices"))

    mesh = mesh_with("Explicit")
    specs = {"in_specs": (DEVICES, DEVICES, WHOLE), "out_specs": WHOLE}

    def derivatives(function):
        def first(moments, positions, cell):
            return jax.value_and_grad(function, (0, 1, 2))(moments, positions, cell)

        def both(moments, positions, cell):
            def along(places):
                return first(moments, places, cell)

            return jax.jvp(along, (positions,), (positions,))

        return jax.jit(first if order == 1 else both)

    sharded = derivatives(jax.shard_map(of_shard, mesh=mesh, **specs))
    arguments = (*put((moments, positions), mesh, DEVICES), cell)
    program = sharded.lower(*arguments).compile()
    return {
        "errors": errors(program(*arguments), derivatives(energy)(moments, positions, cell)),
        "collectives": re.findall(rf" ({COLLECTIVES})(?:-start)?\(", program.as_text()),
    }


def sharded_lattice_sum(method: str) -> dict:
    (charges, *_), positions = random_multipoles(ATOMS)

    def total(charges, positions):
        return lattice_sum(
            Multipoles(charges),
            positions,
            EDGE * np.eye(3),
            k_max=K_MAX,
            method=method,
            accuracy=1e-2,
            response=Response(polarizabilities=jnp.full(ATOMS, 0.02)),
        )[:5]

    expected, results = total(charges, positions), {}
    for axes in AXES:
        found = total(*put((charges, positions), mesh_with(axes), DEVICES))
        results[axes] = {
            "errors": errors(found, expected),
            "spec": list(found[1].sharding.spec)[:1],
            "expected_spec": ["devices"],
        }
    return results


def tiny_model():
    """A model with one matrix that Muon moves."""
    config = small_config(backbone=small_backbone(l_max=0, body_order=1))
    return small_model(config.replace(energy=ReadoutConfig(hidden=(8, 8))))


def sharded_model() -> dict:
    """Energy and forces of a structure with sharded atoms."""
    potential, params = tiny_model()
    places = np.random.default_rng(1).uniform(0.0, 6.0, (8, 3))
    structure = potential.structure(Atoms("OH" * 4, places, cell=[6.0] * 3, pbc=True))

    @jax.jit
    def energy_and_gradient(params, structure):
        def energy(positions):
            return potential.energy_fn(params, replace(structure, positions=positions))

        return jax.value_and_grad(energy)(structure.positions)

    def sharded(mesh):
        def place(path, array):
            return put(array, mesh, DEVICES if path[-1].name in BY_ATOMS else WHOLE)

        return jax.tree_util.tree_map_with_path(place, structure)

    expected, results = energy_and_gradient(params, structure), {}
    for axes in AXES:
        mesh = mesh_with(axes)
        found = energy_and_gradient(put(params, mesh), sharded(mesh))
        results[axes] = {
            "errors": errors(found, expected),
            "spec": list(found[1].sharding.spec)[:1],
            "expected_spec": ["devices"],
        }
    return results


def sharded_training() -> dict:
    """One step on a batch of four structures, one on each device."""
    potential, params = tiny_model()
    with tempfile.TemporaryDirectory() as folder:
        frames = frames_of(mixed_frames(4), Path(folder))
        k_max = potential.config.electrostatics.k_max
        (batch,) = loader_of(frames, 4, max_buckets=1, k_max=k_max).epoch(None)
    steps = build_steps(potential, build_optimizer(MUON), ("energy", "forces"))
    settings = Weights(1.0, 1.0, 1.0), 0.02, 0.75
    expected = steps.train(steps.init(params), batch.structure, batch.labels, *settings)
    results = {}
    for axes in AXES:
        mesh = mesh_with(axes)
        state = put(steps.init(params), mesh)
        sharded = put((batch.structure, batch.labels), mesh, DEVICES)
        with jax.set_mesh(mesh):
            found = steps.train(state, *sharded, *settings)
        leaves = jax.tree.leaves(found[0])
        results[axes] = {
            "errors": errors(found, expected),
            "spec": [leaf.sharding.is_fully_replicated for leaf in leaves],
            "expected_spec": [True] * len(leaves),
        }
    return results


def shared_training() -> dict:
    """A step and a validation of three structures and a filler, one of them on each device."""
    potential, params = tiny_model()
    with tempfile.TemporaryDirectory() as folder:
        frames = frames_of(mixed_frames(3), Path(folder))
        k_max = potential.config.electrostatics.k_max
        loader = loader_of(frames, 4, max_buckets=1, k_max=k_max, parts=4)
        (batch,) = loader.epoch(None)
    needed = ("energy", "forces")
    settings = Weights(1.0, 1.0, 1.0), 0.02, 0.75

    def steps_on(devices):
        return build_steps(
            potential, build_optimizer(MUON), needed, devices, thresholds={"forces": 1e-3}
        )

    alone, devices = steps_on(Devices()), choose_devices(LocalDevices(), 4)
    expected = alone.train(alone.init(params), batch.structure, batch.labels, *settings)
    steps, state = steps_on(devices), devices.everywhere(alone.init(params))
    (again,) = loader.epoch(None, share=devices.share)
    spread = devices.spread((again.structure, again.labels))
    program = steps.train.lower(state, *spread, *settings).compile()
    found = program(state, *spread, *settings)
    validation = alone.evaluate(params, batch.structure, batch.labels)
    return {
        "errors": errors(found, expected),
        "errors of validation": errors(
            steps.evaluate(found[0].params, *spread),
            alone.evaluate(expected[0].params, batch.structure, batch.labels),
        ),
        "filler": int(np.sum(batch.frames < 0)),
        "replicated": [leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(found)],
        "sent": sent(program.as_text()),
        "bytes of parameters": sum(leaf.nbytes for leaf in jax.tree.leaves(params)),
        "labels": len(validation.counts),
    }


def sent(program: str) -> list[tuple[str, int]]:
    """Every collective of a program and its bytes in float64."""
    found = re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", program)
    shapes = [(name, re.findall(r"f64\[([\d,]*)\]", shape)) for shape, name in found]
    return [
        (name, 8 * sum(int(np.prod([int(n) for n in s.split(",") if n])) for s in sizes))
        for name, sizes in shapes
    ]


PARTS = {
    "shards of direct sums": lambda: shards_of_atoms("direct", 1),
    "shards of direct sums, second derivatives": lambda: shards_of_atoms("direct", 2),
    "shards of a mesh, second derivatives": lambda: shards_of_atoms("mesh", 2),
    "ewald": lambda: sharded_lattice_sum("ewald"),
    "pme": lambda: sharded_lattice_sum("pme"),
    "model": sharded_model,
    "training": sharded_training,
    "shared training": shared_training,
}


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    print(json.dumps({part: PARTS[part]() for part in sys.argv[1:]}))


if __name__ == "__main__":
    main()
