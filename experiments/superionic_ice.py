"""Ionic conductivity of superionic water from Born charges and from formal charges.

Run:     python experiments/superionic_ice.py --out results/superionic_ice
Needs:   superionic_fit.pth and start_superionic_2gcc.xyz (published models); one core, an hour.
Writes:  the runs (`jles md`), conductivity.csv and .png, results.json in --out.
Expect:  the two conductivities agree within their errors (Grasselli, Baroni, Nat. Phys. 15, 967
         (2019): with a topological charge per atom the Born charges and the formal ones give the
         same); protons diffuse, oxygens stay on their lattice.
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
from jles.data.sets import published_model
from jles.models.config import ScreeningConfig

TIMESTEP = 0.3
TEMPERATURE = 2000.0
EPSILON_INFINITY = 3.1
FORMAL = {"O": -2.0, "H": 1.0}


def oxygen_displacement(run) -> dict[str, float]:
    """Root mean square displacement (angstrom) from the mean place, and between the halves."""
    places = run.read("positions").values
    oxygens = places[:, run.numbers == 8] - places.mean(axis=1, keepdims=True)
    half = len(oxygens) // 2
    around = oxygens - oxygens.mean(axis=0)
    drift = oxygens[half:].mean(axis=0) - oxygens[:half].mean(axis=0)
    return {
        "vibration": float(np.sqrt(np.mean(np.sum(around**2, axis=-1)))),
        "drift between halves": float(np.sqrt(np.mean(np.sum(drift**2, axis=-1)))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/superionic_ice"))
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--settling", type=float, default=1.0)
    chosen = parser.parse_args()
    model = imported("superionic_fit.pth", screening=ScreeningConfig(EPSILON_INFINITY, "H"))
    start = ase.io.read(published_model("start_superionic_2gcc.xyz"))
    length = lasting(chosen.settling, TIMESTEP)
    hot = settled(model, start, length, TEMPERATURE, chosen.out / "settle")
    stage(
        model,
        hot,
        {
            **lasting(chosen.picoseconds, TIMESTEP),
            "ensemble": {
                "kind": "nose-hoover",
                "temperature": TEMPERATURE,
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
