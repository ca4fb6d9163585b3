"""Atoms shared by devices against one device, for tests/dynamics/test_devices.py.

Run with eight devices (XLA_FLAGS=--xla_force_host_platform_device_count=8); prints one JSON
line. The argument is "forces", "records", "constraints", "langevin" or "npt".
"""

import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.model_system import model_system
from jles.dynamics.run import run_md
from jles.dynamics.system import Capacity
from jles.models.config import (
    DirectCharges,
    FlowCharges,
    MomentConfig,
    ResponseConfig,
    ScalarPolarizability,
    ScreeningConfig,
    SoftnessConfig,
)
from jles.predict.model import Model
from tests.support.four_devices import errors, sent
from tests.support.md_runs import contents
from tests.support.small_systems import rattled, small_backbone, small_config, small_model

DEVICES, ATOMS = 8, 24
CELL = np.array([[9.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.4, -0.8, 6.2]])
SMALL = {"l_max": 1, "body_order": 1}
CONFIGS = {
    "messages and dipoles": small_config(
        backbone=small_backbone(layers=1, messages=("ar",), **SMALL),
        charges=DirectCharges(hidden=(4,), total="shift"),
        dipoles=MomentConfig(hidden=(), channels=1),
    ),
    "flow and response": small_config(
        backbone=small_backbone(**SMALL),
        charges=FlowCharges(hidden=(), flow_width=2),
        polarizability=ScalarPolarizability(hidden=()),
        response=ResponseConfig(mode="self-consistent"),
    ),
    "slab of given charge": small_config(
        backbone=small_backbone(**SMALL),
        charges=DirectCharges(hidden=(), total="shift"),
        dipoles=MomentConfig(hidden=(), channels=1),
        screening=ScreeningConfig(positive="H"),
    ),
    "charges by softness": small_config(
        backbone=small_backbone(**SMALL),
        charges=DirectCharges(hidden=(), total="softness"),
        charge_softness=SoftnessConfig(hidden=()),
    ),
    "permittivity": small_config(
        backbone=small_backbone(**SMALL),
        charges=DirectCharges(hidden=(), total="shift"),
        polarizability=ScalarPolarizability(hidden=()),
        screening=ScreeningConfig(epsilon_infinity=1.9),
    ),
}


def model_of(name: str) -> Model:
    return Model(CONFIGS[name], small_model(CONFIGS[name])[1], "float64")


def start(name: str):
    """A charged crystal, or a charged slab far from its cell."""
    atoms = rattled(0, ATOMS, CELL)
    atoms.info["total_charge"] = 0.5
    if name.startswith("slab"):
        atoms.pbc = (True, True, False)
        atoms.positions += [3.0, -7.0, 40.0]
    return atoms


def system_of(name: str, count: int, records=()):
    return model_system(
        model_of(name),
        start(name),
        skin=0.4,
        moves_cell=False,
        in_field=bool(records),
        records=records,
        devices=jax.devices()[:count],
    )


def shapes_last(name: str) -> bool:
    """Whether new lists of atoms that moved to other devices need no new compilation."""
    system, atoms = system_of(name, DEVICES), start(name)
    lists, found = [], Capacity()
    for seed in (0, 1, 2):
        moved = atoms.copy()
        moved.rattle(0.05, seed=seed)
        moved.translate([seed, -seed, 0.0])
        one, found = system.rebuild_neighbors(moved.positions, atoms.cell.array, found)
        lists.append((jax.tree.map(jnp.shape, one), found))
    return lists[0] == lists[1] == lists[2]


def evaluation(name: str, count: int, records=(), derivatives=(0,)):
    """Energy with derivatives, in a field where there are records; their arguments."""
    system, atoms = system_of(name, count, records), start(name)
    positions, cell = atoms.positions, atoms.cell.array
    neighbors, _ = system.rebuild_neighbors(positions, cell, Capacity())
    velocities = np.random.default_rng(1).normal(size=positions.shape)
    strain_rate = 0.1 * (velocities[:3] + velocities[:3].T)

    def energy(positions, cell, neighbors):
        field = jnp.array([0.1, -0.2, 0.3]) if records else None
        return system.energy(positions, cell, neighbors, field)

    def values(positions, cell, neighbors):
        found = [
            system.observables[name](positions, velocities, cell, neighbors, strain_rate)
            for name in records
        ]
        slopes = jax.value_and_grad(energy, derivatives)(positions, cell, neighbors)
        return slopes, found, 1.0 * (system.missing_slots(positions, cell, neighbors) <= 0)

    return jax.jit(values), (jnp.asarray(positions), jnp.asarray(cell), neighbors)


def compared(name: str, *how) -> dict:
    found = {}
    for count in (1, DEVICES):
        values, arguments = evaluation(name, count, *how)
        program = values.lower(*arguments).compile()
        found[count] = program(*arguments)
    plan = arguments[2].plan
    return {
        "errors": errors(found[DEVICES], found[1]),
        "sent": sent(program.as_text()),
        "numbers of sum": 8 * int(np.prod([n + 1 for n in plan.grid])),
    }


LANGEVIN = {
    "ensemble": {"kind": "langevin", "temperature": 300.0},
    "record": {"thermo": 2, "positions": 2, "polarization": 3, "current": 3, "born_charges": 6},
}
NPT = {
    "ensemble": {
        "kind": "npt",
        "temperature": 300.0,
        "pressure": 2.0,
        "pressure_unit": "GPa",
        "barostat_time": 50.0,
    },
    "record": {"thermo": 2, "positions": 2},
}


def shared_and_resumed(name: str, changes: dict) -> dict:
    """Errors of a run on eight devices that two devices continue, against one device."""
    config = {
        "steps": 12,
        "timestep": 0.5,
        "dtype": "float64",
        "neighbors": {"skin": 0.3},
        "block": 4,
    } | changes
    model, atoms = model_of(name), start(name)
    with tempfile.TemporaryDirectory() as folder:
        out = {name: Path(folder) / name for name in ("alone", "shared")}
        run_md(model, atoms, config, out["alone"])
        half = config | {"steps": 6, "parallel": {"devices": DEVICES}}
        run_md(model, atoms, half, out["shared"])
        run_md(model, atoms, config | {"parallel": {"devices": 2}}, out["shared"], resume=True)
        alone, shared = (contents(path / "trajectory.h5") for path in out.values())
    sets = [name for name, value in alone.items() if isinstance(value, np.ndarray)]
    return {
        "same sets": set(alone) == set(shared),
        "errors": {
            name: errors(1.0 * shared[name], 1.0 * alone[name])[0]
            for name in sets
            if not np.isnan(alone[name]).any()
        },
    }


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    first, second, slab, soft, permittivity = CONFIGS
    if sys.argv[1] == "forces":
        print(json.dumps(compared(first) | {"shapes last": shapes_last(first)}))
    elif sys.argv[1] == "records":
        records = ("polarization", "born_charges", "current", "charges", "dipoles")
        both = {first: compared(first, records, (0, 1)), second: compared(second, (), (0, 1))}
        print(json.dumps(both))
    elif sys.argv[1] == "constraints":
        responses = ("polarization", "born_charges", "current")
        found = {
            slab: compared(slab, (*responses, "charges")),
            soft: compared(soft, (), (0, 1)),
            permittivity: compared(permittivity, responses, (0, 1)),
        }
        print(json.dumps(found))
    else:
        changes = NPT if sys.argv[1] == "npt" else LANGEVIN
        print(json.dumps(shared_and_resumed(first, changes)))


if __name__ == "__main__":
    main()
