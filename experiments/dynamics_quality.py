"""How well, and how fast, molecular dynamics of an imported water model runs.

Run:     python experiments/dynamics_quality.py --out results/dynamics_quality
Needs:   water_v1.pth (published models), water-rpbe-d3; two quiet cores, about half an hour.
Writes:  short runs and results.json in --out.
Expect:  NVE drift well below 0.1 meV per atom and ps in float32 at 0.25 fs, less in float64; in a
         constant field no more than without; NPT with the sharp sphere of wave vectors jumps when
         one crosses it, with the smooth cutoff not. Published torch code driven by ASE: 2.5 units
         an energy + forces call at 192 atoms; a tenth of it is the aim on 2 cores. Langevin and
         Nose-Hoover: the same mean energy within its error, and a temperature that fluctuates by
         T sqrt(2 / degrees of freedom).
"""

import argparse
import csv
import shutil
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from common import write_results
from dynamics import imported, lasting, stage

from jles.analysis.blocks import block_average
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.dynamics.matter import model_system
from jles.dynamics.system import Room
from jles.models.config import ScreeningConfig
from jles.predict.model import Model

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
    run = open_run(place)
    conserved = run.read("thermo", "conserved")
    values = 1e3 * conserved.values / len(run.numbers)
    times = np.arange(len(values)) * conserved.interval * 1e-3
    slope, start = np.polyfit(times, values, 1)
    jump = np.abs(np.diff(values)).max()
    spread = float(np.std(values - slope * times - start))
    return {"drift": float(slope), "spread": spread, "largest step": float(jump)}


def cases(atoms, picoseconds: float):
    """Name, dtype, cutoff of the sum and configuration of every run."""
    for dtype in ("float32", "float64"):
        for timestep in (0.5, 0.25):
            base = {**lasting(picoseconds, timestep), "dtype": dtype, "velocities": WARM}
            yield f"nve {dtype} {timestep} fs", dtype, None, base
            if timestep == 0.25 and dtype == "float64":
                yield (
                    f"nve {dtype} {timestep} fs in 0.1 V/A",
                    dtype,
                    None,
                    base | {"field": FIELD},
                )
                for cutoff in ("sharp", "smooth"):
                    press = base | {"ensemble": PRESS}
                    yield f"npt {dtype} {timestep} fs {cutoff}", dtype, cutoff, press


def averages(place: Path, dropped: float = 0.25) -> dict[str, float]:
    """Potential energy (meV per atom) and temperature (K) with block errors, and its spread."""
    run = open_run(place)
    temperature, potential = (
        run.read("thermo", name).values for name in ("temperature", "potential_energy")
    )
    first = round(dropped * len(temperature))
    temperature, potential = temperature[first:], potential[first:]
    energy = block_average(1e3 * potential / len(run.numbers))
    mean = block_average(temperature)
    canonical = np.sqrt(2.0 / (3 * len(run.numbers) - 3)) * mean.mean
    return {
        "potential": float(energy.mean),
        "potential error": float(energy.error),
        "temperature": float(mean.mean),
        "temperature error": float(mean.error),
        "spread over canonical": float(np.std(temperature) / canonical),
    }


def thermostats(model: Model, start, picoseconds: float, out: Path) -> dict:
    """Averages of one liquid with either thermostat."""
    found = {}
    baths = {"langevin": {"friction": 5.0}, "nose-hoover": {"thermostat_time": 50.0}}
    for kind, more in baths.items():
        config = {
            **lasting(picoseconds, 0.5),
            "ensemble": {"kind": kind, "temperature": 300.0, **more},
            "velocities": WARM,
            "record": {"thermo": 10, "positions": 0},
        }
        stage(model, start, config, out / kind)
        found[kind] = averages(out / kind)
        print(kind, found[kind], flush=True)
    return found


def unit() -> float:
    """Seconds of one 2048^3 product."""
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((2048, 2048), jnp.float32)
    return best_of(lambda: product(matrix), 10)


def speed(model: Model, atoms, steps: int, record: dict, out: Path) -> dict[str, float]:
    """Time of a step once everything is compiled, as the log of the run has it."""
    shutil.rmtree(out, ignore_errors=True)
    config = {
        "steps": steps, "timestep": 0.25, "velocities": WARM, "record": record, "block": steps // 5,
    }  # fmt: skip
    stage(model, atoms, config, out)
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
    """Ms of what a step is made of: forces, those of short range alone, a search of neighbours."""
    system = model_system(model, atoms, skin=0.5, moves_cell=False, in_field=False)
    short = replace(model.config, charges=None)
    params = {key: value for key, value in model.params.items() if key != "charges"}
    bare = model_system(
        Model(short, params, model.dtype), atoms, skin=0.5, moves_cell=False, in_field=False
    )
    positions = jnp.asarray(atoms.positions, jnp.float32)
    cell = jnp.asarray(atoms.cell.array, jnp.float32)
    found = {}
    for name, each in (("forces", system), ("short range", bare)):
        frame, room = each.look(atoms.positions, atoms.cell.array, Room())
        forces = jax.jit(
            lambda r, frame, each=each: jax.grad(each.energy)(r, cell, frame, None)
        )
        found[name] = 1e3 * best_of(lambda f=forces, at=frame: f(positions, at))
    found["search"] = 1e3 * best_of(
        lambda: bare.look(atoms.positions, atoms.cell.array, room)[0].structure.positions
    )
    return found


def best_of(function, times: int = 5) -> float:
    """Seconds of the fastest call."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/dynamics_quality"))
    parser.add_argument("--picoseconds", type=float, default=0.5)
    parser.add_argument("--thermostats", type=float, default=10.0, help="ps of each")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--repeats", nargs="+", type=int, default=[1, 2, 4])
    chosen = parser.parse_args()
    screening = ScreeningConfig(1.78, "H")
    liquid = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    results = {}
    drifts = cases(liquid, chosen.picoseconds) if "drift" in chosen.parts else ()
    for name, dtype, cutoff, config in drifts:
        model = imported("water_v1.pth", dtype, screening)
        if cutoff is not None:
            sums = replace(model.config.electrostatics, cutoff=cutoff)
            changed = replace(model.config, electrostatics=sums)
            model = Model(changed, model.params, dtype, "water_v1.pth")
        place = chosen.out / name.replace(" ", "_").replace("/", "-")
        stage(model, liquid, config | {"record": {"thermo": 1, "positions": 0}}, place)
        results[name] = drift_of(place)
        print(name, results[name], flush=True)
    model = imported("water_v1.pth", screening=screening)
    if "thermostats" in chosen.parts:
        results["thermostats"] = thermostats(model, liquid, chosen.thermostats, chosen.out)
    for repeat in chosen.repeats if "speed" in chosen.parts else ():
        atoms = liquid * ((repeat,) * 3)
        steps = {1: 2000, 2: 250}.get(repeat, 25)
        plain = {"thermo": steps // 5, "positions": 0}
        for name, record in (("", plain), (", current every step", plain | {"current": 1})):
            key = f"{len(atoms)} atoms{name}"
            results[key] = speed(model, atoms, steps, record, chosen.out / "speed")
            print(key, results[key], flush=True)
        results[f"{len(atoms)} atoms, ms of parts"] = parts(model, atoms)
    write_results(chosen.out, results)


if __name__ == "__main__":
    main()
