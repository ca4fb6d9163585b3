"""How well, and how fast, molecular dynamics of an imported water model runs.

Run:     python experiments/dynamics_quality.py --out results/dynamics_quality
Needs:   water_v1.pth (published models), water-rpbe-d3; two quiet cores, about half an hour.
Writes:  short runs, results.json and table.md in --out.
Expect:  NVE drift well below 0.1 meV per atom and ps in float32 at 0.25 fs, less in float64; in a
         constant field no more than without; NPT with the sharp sphere of wave vectors jumps when
         one crosses it, with the smooth cutoff not. Published torch code driven by ASE: 2.5 units
         an energy + forces call at 192 atoms; a tenth of it is the aim on 2 cores.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from common import write_results
from dynamics import imported, stage

from jles.analysis.run import open_run
from jles.calculators.model import Model
from jles.data.sets import data_set
from jles.models.config import ScreeningConfig

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
            steps = round(1e3 * picoseconds / timestep)
            base = {"steps": steps, "timestep": timestep, "dtype": dtype, "velocities": WARM}
            yield f"nve {dtype} {timestep} fs", dtype, None, base
            if timestep == 0.25 and dtype == "float64":
                yield f"nve {dtype} {timestep} fs in 0.1 V/A", dtype, None, base | {"field": FIELD}
                for cutoff in ("sharp", "smooth"):
                    press = base | {"ensemble": PRESS}
                    yield f"npt {dtype} {timestep} fs {cutoff}", dtype, cutoff, press


def unit() -> float:
    """Seconds of one 2048^3 product."""
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((2048, 2048), jnp.float32)
    product(matrix).block_until_ready()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        product(matrix).block_until_ready()
        times.append(time.perf_counter() - start)
    return min(times)


def speed(model: Model, atoms, steps: int, record: dict, out: Path) -> dict[str, float]:
    """Time of a step once everything is compiled: a run less one that is a fifth as long."""
    seconds = []
    for count in (steps // 5, steps):
        shutil.rmtree(out, ignore_errors=True)
        config = {
            "steps": count, "timestep": 0.25, "velocities": WARM, "record": record,
            "block": max(1, steps // 5),
        }  # fmt: skip
        start = time.perf_counter()
        stage(model, atoms, config, out)
        seconds.append(time.perf_counter() - start)
    step = (seconds[1] - seconds[0]) / (steps - steps // 5)
    return {
        "ms a step": 1e3 * step,
        "ns/day": 0.25e-6 * 86400.0 / step,
        "atom steps/s": len(atoms) / step,
        "units a step": step / unit(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/dynamics_quality"))
    parser.add_argument("--picoseconds", type=float, default=0.5)
    parser.add_argument("--repeats", nargs="+", type=int, default=[1, 2, 4])
    chosen = parser.parse_args()
    screening = ScreeningConfig(1.78, "H")
    liquid = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    results = {}
    for name, dtype, cutoff, config in cases(liquid, chosen.picoseconds):
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
    for repeat in chosen.repeats:
        atoms = liquid * (repeat,) * 3
        steps = {1: 2000, 2: 200}.get(repeat, 20)
        plain = {"thermo": steps, "positions": 0}
        for name, record in (("", plain), (", current every step", plain | {"current": 1})):
            key = f"{len(atoms)} atoms{name}"
            results[key] = speed(model, atoms, steps, record, chosen.out / "speed")
            print(key, results[key], flush=True)
    write_results(chosen.out, results)


if __name__ == "__main__":
    main()
