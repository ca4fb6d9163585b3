"""Ionic conductivity of hot dense water from Born charges and from formal charges.

Run:     python experiments/superionic_ice.py --out results/superionic_ice
Needs:   superionic_fit.pth and start_superionic_2gcc.xyz (published models), superionic-water-bec
         for 4 g/cm3; one core, an hour.
Writes:  the runs (`jles md`), conductivity.csv and .png, results.json in --out.
Expect:  the two conductivities agree within their errors (Grasselli, Baroni, Nat. Phys. 15, 967
         (2019): with a topological charge per atom the Born charges and the formal ones give the
         same); protons diffuse, oxygens stay on their lattice where there is one. At 2 g/cm3 and
         2000 K there is none: the largest structure factor of the 54 oxygens is 7 in the published
         start and 10 to 20 in the frames of density functional theory (50 in those of 4 g/cm3).
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from common import write_results
from dynamics import imported, lasting, settled, stage

from jles.analysis.conductivity_report import conductivity
from jles.analysis.outcome import write_outcome
from jles.analysis.run import open_run
from jles.data.sets import data_set, published_model
from jles.models.config import ScreeningConfig

TIMESTEP = 0.3
EPSILON_INFINITY = 3.1
FORMAL = {"O": -2.0, "H": 1.0}


def start_of(density: float):
    """A structure of 54 molecules, g/cm^3."""
    if density == 2.0:
        return ase.io.read(published_model("start_superionic_2gcc.xyz"))
    return ase.io.read(data_set("superionic-water-bec/S-4cc-T1000K-BEC.xyz"), 0)


def order_of(oxygens, cell, most: int = 6) -> float:
    """Largest structure factor |sum exp(iGr)|^2 / N at small reciprocal vectors; N in a crystal."""
    whole = np.arange(-most, most + 1)
    index = np.stack(np.meshgrid(whole, whole, whole), -1).reshape(-1, 3)
    index = index[np.any(index != 0, axis=1)]
    phases = 2.0 * np.pi * (oxygens @ np.linalg.inv(cell)) @ index.T
    return float(np.max(np.abs(np.exp(1j * phases).sum(0)) ** 2) / len(oxygens))


def oxygen_displacement(run) -> dict[str, float]:
    """Root mean square displacement (angstrom) from the mean place, and between the halves."""
    places = run.read("positions").values
    oxygens = places[:, run.numbers == 8] - places.mean(axis=1, keepdims=True)
    half = len(oxygens) // 2
    around = oxygens - oxygens.mean(axis=0)
    drift = oxygens[half:].mean(axis=0) - oxygens[:half].mean(axis=0)
    cells = run.read("positions", "cell").values
    return {
        "order, start": order_of(oxygens[0], cells[0]),
        "order, end": order_of(oxygens[-1], cells[-1]),
        "vibration": float(np.sqrt(np.mean(np.sum(around**2, axis=-1)))),
        "drift between halves": float(np.sqrt(np.mean(np.sum(drift**2, axis=-1)))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/superionic_ice"))
    parser.add_argument("--density", type=float, default=2.0, choices=(2.0, 4.0))
    parser.add_argument("--temperature", type=float, default=2000.0)
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--settling", type=float, default=1.0)
    chosen = parser.parse_args()
    model = imported("superionic_fit.pth", screening=ScreeningConfig(EPSILON_INFINITY, "H"))
    start, temperature = start_of(chosen.density), chosen.temperature
    length = lasting(chosen.settling, TIMESTEP)
    hot = settled(model, start, length, temperature, chosen.out / "settle")
    stage(
        model,
        hot,
        {
            **lasting(chosen.picoseconds, TIMESTEP),
            "ensemble": {
                "kind": "nose-hoover",
                "temperature": temperature,
                "thermostat_time": 100.0,
            },
            "record": {"thermo": 20, "current": 6, "positions": 30, "velocities": 6},
        },
        chosen.out / "run",
    )
    run = open_run(chosen.out / "run")
    found = conductivity([run], FORMAL)
    write_outcome(found, chosen.out)
    print("\n".join(found.lines))
    write_results(chosen.out, {"words": found.lines, "oxygen": oxygen_displacement(run)})


if __name__ == "__main__":
    main()
