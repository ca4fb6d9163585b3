"""How well, and how fast, molecular dynamics of an imported water model runs.

Run:     python experiments/dynamics_quality.py --out results/dynamics_quality
Needs:   water_v1.pth (published models), water-rpbe-d3; two quiet cores, about half an hour.
Writes:  short runs and results.json in --out.
Expect:  NVE drift well below 0.1 meV per atom and ps in float32 at 0.25 fs, less in float64,
         and in a constant field no more than without. NPT with the sharp cutoff of wave vectors
         jumps when one crosses it; with the smooth cutoff it does not. The published torch code
         driven by ASE takes 2.5 units for energy + forces at 192 atoms; the aim is a tenth of
         that on 2 cores. Langevin and Nose-Hoover give the same mean energy within its error,
         and a temperature that fluctuates by T sqrt(2 / degrees of freedom).
"""

import csv
import shutil
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from common import duration, fastest, imported, options, run, simulated, write_results
from jax_md import simulate, space

import jles
from jles.analysis.estimators.blocks import block_average
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.dynamics.model_system import model_system
from jles.dynamics.system import Capacity
from jles.models.config import ScreeningConfig
from jles.predict.model import Model

SCREENING = ScreeningConfig(1.78, "H")
PARTS = ("drift", "thermostats", "speed")
FIELD = {"kind": "constant", "amplitude": [0.0, 0.0, 0.1], "unit": "V/angstrom"}
WARM = {"temperature": 300.0}
PRESS = {
    "kind": "npt",
    "temperature": 300.0,
    "pressure": 0.0001,
    "pressure_unit": "GPa",
    "barostat_time": 200.0,
}


def drift_of(place: Path) -> dict[str, float]:
    """Slope and spread of the conserved quantity, meV per atom, the slope per ps."""
    trajectory = open_run(place)
    conserved = trajectory.read("thermo", "conserved")
    values = 1e3 * conserved.values / len(trajectory.numbers)
    times = np.arange(len(values)) * conserved.interval * 1e-3
    slope, start = np.polyfit(times, values, 1)
    jump = np.abs(np.diff(values)).max()
    spread = float(np.std(values - slope * times - start))
    return {"drift": float(slope), "spread": spread, "largest step": float(jump)}


def cases(picoseconds: float, smoke: bool):
    """Name, dtype, cutoff of the sum and configuration of every run."""
    for dtype in ("float32", "float64"):
        for timestep in (0.5, 0.25):
            finest = timestep == 0.25 and dtype == "float64"
            if smoke and not finest:
                continue
            name = f"{dtype} {timestep} fs"
            base = {**duration(picoseconds, timestep), "dtype": dtype, "velocities": WARM}
            yield f"nve {name}", dtype, None, base
            if finest:
                yield f"nve {name} in 0.1 V/A", dtype, None, base | {"field": FIELD}
                for cutoff in ("smooth",) if smoke else ("sharp", "smooth"):
                    press = base | {"ensemble": PRESS}
                    yield f"npt {name} {cutoff}", dtype, cutoff, press


def averages(place: Path, dropped: float = 0.25) -> dict[str, float]:
    """Mean potential energy (meV per atom), mean and spread of the temperature (K)."""
    trajectory = open_run(place)
    count = len(trajectory.numbers)
    temperature, potential = (
        trajectory.read("thermo", name).values for name in ("temperature", "potential_energy")
    )
    first = round(dropped * len(temperature))
    temperature, potential = temperature[first:], potential[first:]
    energy = block_average(1e3 * potential / count)
    mean = block_average(temperature)
    canonical = np.sqrt(2.0 / (3 * count - 3)) * mean.mean
    return {
        "potential": float(energy.mean),
        "potential error": float(energy.error),
        "temperature": float(mean.mean),
        "temperature error": float(mean.error),
        "spread over canonical": float(np.std(temperature) / canonical),
    }


def thermostats(model: Model, start, picoseconds: float, out: Path) -> dict:
    """Averages of the liquid with each thermostat."""
    found = {}
    baths = {"langevin": {"friction": 5.0}, "nose-hoover": {"thermostat_time": 50.0}}
    for kind, more in baths.items():
        config = {
            **duration(picoseconds, 0.5),
            "ensemble": {"kind": kind, "temperature": 300.0, **more},
            "velocities": WARM,
            "record": {"thermo": 10, "positions": 0},
        }
        simulated(model, start, config, out / kind)
        found[kind] = averages(out / kind)
        print(kind, found[kind], flush=True)
    return found


def unit() -> float:
    """Seconds of one 2048^3 product, the unit of time."""
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((2048, 2048), jnp.float32)
    return fastest(product, matrix, rounds=10)


def speed(model: Model, atoms, steps: int, record: dict, out: Path) -> dict[str, float]:
    """Time of a step after compilation, from the log of the run."""
    shutil.rmtree(out, ignore_errors=True)
    config = {
        "steps": steps, "timestep": 0.25, "velocities": WARM, "record": record,
        "block": steps // 5,
    }  # fmt: skip
    simulated(model, atoms, config, out)
    with (out / "log.csv").open() as file:
        *_, last = csv.DictReader(file)
    ns_per_day = float(last["speed (ns/day)"])
    step = 0.25e-6 * 86400.0 / ns_per_day
    return {
        "ms a step": 1e3 * step,
        "ns/day": ns_per_day,
        "atom steps/s": len(atoms) / step,
        "units a step": step / unit(),
    }


def parts(model: Model, atoms) -> dict[str, float]:
    """Milliseconds of forces, forces of the short-range part alone, and a neighbour search."""
    system = model_system(model, atoms, skin=0.5, moves_cell=False, in_field=False)
    short = model.config.replace(charges=None)
    params = {key: value for key, value in model.params.items() if key != "charges"}
    bare = model_system(
        Model(short, params, model.dtype), atoms, skin=0.5, moves_cell=False, in_field=False
    )
    positions = jnp.asarray(atoms.positions, jnp.float32)
    cell = jnp.asarray(atoms.cell.array, jnp.float32)
    found = {}
    for name, each in (("forces", system), ("short range", bare)):
        neighbors, _ = each.rebuild_neighbors(atoms.positions, atoms.cell.array, Capacity())
        forces = jax.jit(
            lambda r, neighbors, each=each: jax.grad(each.energy)(r, cell, neighbors, None)
        )
        found[name] = 1e3 * fastest(forces, positions, neighbors)
    search = jax.jit(bare.search_neighbors)
    found["search"] = 1e3 * fastest(lambda: search(positions, cell, neighbors))
    return found


def speed_of_jax_md(model: Model, atoms, steps: int) -> float:
    """Milliseconds of a step of `jax_md.simulate.nve`, updates of the list included."""
    neighbor_fn, energy_fn = jles.jax_md.neighbor_list(model, atoms)
    init, apply = simulate.nve(energy_fn, space.free()[1], 0.25 * units.fs)
    positions = jnp.asarray(atoms.positions, jnp.float32)
    neighbors = neighbor_fn.allocate(positions)
    masses = jnp.asarray(atoms.get_masses()[:, None], jnp.float32)
    kT = 300.0 * units.kB
    state = init(jax.random.PRNGKey(0), positions, kT, mass=masses, neighbor=neighbors)

    @jax.jit
    def loop(state, neighbors):
        def step(_, now):
            state, neighbors = now
            neighbors = neighbors.update(state.position)
            return apply(state, neighbor=neighbors), neighbors

        return jax.lax.fori_loop(0, steps, step, (state, neighbors))

    return 1e3 * fastest(loop, state, neighbors, rounds=3) / steps


def drifts(atoms, picoseconds: float, out: Path, smoke: bool) -> dict:
    """Drift of every run of `cases`."""
    found = {}
    for name, dtype, cutoff, config in cases(picoseconds, smoke):
        model = imported("water_v1.pth", dtype, SCREENING)
        if cutoff is not None:
            sums = model.config.electrostatics.replace(cutoff=cutoff)
            changed = model.config.replace(electrostatics=sums)
            model = Model(changed, model.params, dtype, "water_v1.pth")
        place = out / name.replace(" ", "_").replace("/", "-")
        simulated(model, atoms, config | {"record": {"thermo": 1, "positions": 0}}, place)
        found[name] = drift_of(place)
        print(name, found[name], flush=True)
    return found


def speeds(model: Model, liquid, repeats: list[int], out: Path, smoke: bool) -> dict:
    """Time of a step and of its parts, by the number of atoms."""
    found = {}
    for repeat in repeats:
        atoms = liquid * ((repeat,) * 3)
        steps = 10 if smoke else {1: 2000, 2: 250}.get(repeat, 25)
        plain = {"thermo": steps // 5, "positions": 0}
        for name, record in (("", plain), (", current every step", plain | {"current": 1})):
            key = f"{len(atoms)} atoms{name}"
            found[key] = speed(model, atoms, steps, record, out / "speed")
            print(key, found[key], flush=True)
        found[f"{len(atoms)} atoms, ms a step by jax-md"] = speed_of_jax_md(model, atoms, steps)
        found[f"{len(atoms)} atoms, ms of parts"] = parts(model, atoms)
    return found


def main(chosen):
    out = chosen.out
    if chosen.smoke:
        chosen.picoseconds, chosen.thermostats, chosen.repeats = 0.005, 0.05, [1]
    liquid = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    model = imported("water_v1.pth", screening=SCREENING)
    results = {}
    if "drift" in chosen.parts:
        results |= drifts(liquid, chosen.picoseconds, out, chosen.smoke)
    if "thermostats" in chosen.parts:
        results["thermostats"] = thermostats(model, liquid, chosen.thermostats, out)
    if "speed" in chosen.parts:
        results |= speeds(model, liquid, chosen.repeats, out, chosen.smoke)
    write_results(out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/dynamics_quality")
    parser.add_argument("--picoseconds", type=float, default=0.5, help="of each drift run")
    parser.add_argument("--thermostats", type=float, default=10.0, help="ps of each")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--repeats", nargs="+", type=int, default=[1, 2, 4], help="of the cell")
    run(main, parser)
