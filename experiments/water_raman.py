"""Raman spectrum of liquid water from a model of ours that saw energies and forces only.

Run:     python experiments/water_raman.py --out results/water_raman
Needs:   the model of electrical_response.py --systems water --rungs q+u+Q+kappa+alpha, whose
         polarizabilities are tensors (numbers have no anisotropic spectrum), and water-rpbe-d3,
         whose first frame is the start; one core, about half an hour.
Writes:  the runs (`jles md`), raman.csv and .png, results.json in --out.
Expect:  an isotropic stretch band between 3200 and 3450 1/cm that is by far the strongest, the
         bend near 1640 1/cm weak and the librations (400 to 800 1/cm) in the anisotropic part only
         (Carey, Korenowski, J. Chem. Phys. 108, 2669 (1998)).
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from common import write_results
from dynamics import lasting, settled, stage
from water_infrared import BANDS

from jles.analysis.outcome import write_outcome
from jles.analysis.raman import raman
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.predict.model import load_model

TIMESTEP = 0.5
EPSILON_INFINITY = 1.78


def bands(columns: dict) -> dict[str, dict[str, float]]:
    """Where each band is highest, and its integral as a fraction of the stretch's, by part."""
    nu, *spectra = columns.items()
    found = {}
    for name, values in spectra:
        if "error" in name:
            continue
        parts = {band: _band(nu[1], values, *limits) for band, limits in BANDS.items()}
        whole = parts["stretch"]["integral"]
        found[name] = {
            band: {
                "highest": part["highest"],
                "share": part["integral"] / whole if whole else None,
            }
            for band, part in parts.items()
        }
    return found


def _band(nu, values, low: float, high: float) -> dict[str, float]:
    inside = (nu >= low) & (nu <= high)
    integral = np.trapezoid(values[inside], nu[inside])
    return {
        "highest": float(nu[inside][np.argmax(values[inside])]),
        "integral": float(integral),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    trained = Path("results/electrical_response/water/q+u+Q+kappa+alpha")
    parser.add_argument("--model", type=Path, default=trained)
    parser.add_argument("--out", type=Path, default=Path("results/water_raman"))
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--settling", type=float, default=2.0)
    chosen = parser.parse_args()
    model = load_model(chosen.model, screening=ScreeningConfig(EPSILON_INFINITY, "H"))
    start = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    length = lasting(chosen.settling, TIMESTEP)
    warm = settled(model, start, length, 300.0, chosen.out / "settle")
    stage(
        model,
        warm,
        {
            **lasting(chosen.picoseconds, TIMESTEP),
            "record": {"thermo": 20, "polarizability": 4, "current": 4, "positions": 200},
        },
        chosen.out / "nve",
    )
    run = open_run(chosen.out / "nve")
    found = raman([run], resolution=40.0)
    write_outcome(found, chosen.out)
    print("\n".join(found.lines))
    temperature = float(run.read("thermo", "temperature").values.mean())
    write_results(chosen.out, {"temperature": temperature, **bands(found.columns)})


if __name__ == "__main__":
    main()
