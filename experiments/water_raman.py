"""Raman spectrum of liquid water from a model trained here on energies and forces only.

Run:     python experiments/water_raman.py --out results/water_raman
Needs:   the model of electrical_response.py --systems water --rungs q+u+Q+kappa+alpha, whose
         polarizabilities are tensors (scalar ones have no anisotropic spectrum), and the first
         frame of water-rpbe-d3 (JLES_DATA); one core, about half an hour.
Writes:  the runs (`jles md`), raman.csv and .png, results.json in --out.
Expect:  an isotropic stretch band between 3200 and 3450 1/cm that is by far the strongest, the
         bend near 1640 1/cm weak and the librations (400 to 800 1/cm) in the anisotropic part
         only (Carey, Korenowski, J. Chem. Phys. 108, 2669 (1998)).
"""

from pathlib import Path

import ase.io
import numpy as np
from common import duration, options, run, settled, simulated, trained, write_results
from ladder import settings
from water_infrared import BANDS

from jles.analysis.reports.outcome import write_outcome
from jles.analysis.reports.raman import raman
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.predict.model import load_model

TIMESTEP = 0.5
EPSILON_INFINITY = 1.78
RUNG = "q+u+Q+kappa+alpha"


def bands(columns: dict) -> dict[str, dict[str, float]]:
    """Maximum of each band and its integral relative to that of the stretch, by spectrum."""
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


def main(chosen):
    out, resolution = chosen.out, 40.0
    if chosen.smoke:
        chosen.model, chosen.picoseconds, chosen.settling = out / "model", 0.135, 0.005
        resolution = 1000.0
        trained(settings("water", RUNG), chosen.model, smoke=True)
    model = load_model(chosen.model, screening=ScreeningConfig(EPSILON_INFINITY, "H"))
    start = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), 0)
    length = duration(chosen.settling, TIMESTEP)
    warm = settled(model, start, length, 300.0, out / "settle")
    simulated(
        model,
        warm,
        {
            **duration(chosen.picoseconds, TIMESTEP),
            "record": {"thermo": 20, "polarizability": 4, "current": 4, "positions": 200},
        },
        out / "nve",
    )
    trajectory = open_run(out / "nve")
    found = raman([trajectory], resolution=resolution)
    write_outcome(found, out)
    print("\n".join(found.lines))
    temperature = float(trajectory.read("thermo", "temperature").values.mean())
    write_results(out, {"temperature": temperature, **bands(found.columns)})


if __name__ == "__main__":
    parser = options(__doc__, "results/water_raman")
    start_model = Path("results/electrical_response/water") / RUNG
    parser.add_argument("--model", type=Path, default=start_model)
    parser.add_argument("--picoseconds", type=float, default=20.0, help="length of the NVE run")
    parser.add_argument("--settling", type=float, default=2.0, help="ps with a thermostat")
    run(main, parser)
