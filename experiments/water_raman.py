"""Raman spectrum of liquid water from a model trained here on energies and forces only.

Run:     python experiments/water_raman.py --out results/water_raman
Needs:   the model of electrical_response.py --systems water --rungs q+u+Q+kappa+alpha, whose
         polarizabilities are tensors (scalar ones have no anisotropic spectrum), and frames of
         water-rpbe-d3 (JLES_DATA) to start from; one core, about 20 minutes for 50 ps.
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
from water_infrared import BANDS, band_positions

from jles.analysis.conditions import mean_temperature
from jles.analysis.estimators.raman import polarized
from jles.analysis.estimators.spectra import Segments, average, pool
from jles.analysis.reports.outcome import write_outcome
from jles.analysis.reports.raman import raman, raman_segments
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.predict.model import load_model

TIMESTEP = 0.5
EPSILON_INFINITY = 1.78
RUNG = "q+u+Q+kappa+alpha"
PARTS = 5
"""Consecutive parts of the runs, for errors."""


def bands(segments: Segments) -> dict[str, dict[str, float]]:
    """Numbers of the spectrum, with jackknife errors from parts of the runs."""
    whole, count = numbers_of(segments), min(PARTS, len(segments.power))
    places = np.array_split(np.arange(len(segments.power)), count)
    rest = [np.delete(segments.power, part, axis=0) for part in places if count > 1]
    rows = [numbers_of(segments._replace(power=power)) for power in rest]
    found = {}
    for name, value in whole.items():
        values = [row[name] for row in rows]
        error = np.sqrt(count - 1.0) * np.std(values) if rows else None
        found[name] = {"value": value, "error": error}
    return found


def numbers_of(segments: Segments) -> dict[str, float]:
    """Centre of each band (1/cm), its integral relative to the stretch, depolarization."""
    power, found, integrals = polarized(segments), {}, {}
    for name in ("iso", "VV", "VH"):
        spectrum = average(segments, power[name])
        for band, place in band_positions(spectrum.wavenumber, spectrum.mean).items():
            integrals[name, band] = place["integral"]
            found[f"{name}, {band}: center"] = place["center"]
            found[f"{name}, {band}: highest"] = place["highest"]
        for band in ("libration", "bend"):
            share = ratio(integrals[name, band], integrals[name, "stretch"])
            found[f"{name}, {band}: share"] = share
    for band in BANDS:
        found[f"depolarization, {band}"] = ratio(integrals["VH", band], integrals["VV", band])
    return found


def ratio(part: float, whole: float) -> float:
    """part / whole; not a number for a band that is narrower than the resolution."""
    return part / whole if whole else float("nan")


def in_equilibrium(model, start: int, chosen) -> Path:
    """The folder of an NVE run from a frame of the data, after a run with a thermostat."""
    out, frame = chosen.out, ase.io.read(data_set("water-rpbe-d3/ef.xyz"), start)
    length = duration(chosen.settling, TIMESTEP)
    warm = settled(model, frame, length, 300.0, out / f"settle_{start}")
    simulated(
        model,
        warm,
        {
            **duration(chosen.picoseconds, TIMESTEP),
            "record": {"thermo": 20, "polarizability": chosen.every, "positions": 200},
        },
        out / f"nve_{start}",
    )
    return out / f"nve_{start}"


def main(chosen):
    out, resolution, chosen.every = chosen.out, 40.0, 4
    if chosen.smoke:
        # The hardly trained model is stable for some 60 fs only; a spectrum needs 64 records.
        chosen.model, chosen.picoseconds, chosen.settling = out / "model", 0.04, 0.005
        resolution, chosen.every = 1500.0, 1
        trained(settings("water", RUNG), chosen.model, smoke=True)
    model = load_model(chosen.model, screening=ScreeningConfig(EPSILON_INFINITY, "H"))
    runs = [open_run(in_equilibrium(model, start, chosen)) for start in chosen.starts]
    found = raman(runs, resolution=resolution)
    write_outcome(found, out)
    print("\n".join(found.lines))
    segments = pool([raman_segments(each, resolution)[1] for each in runs])
    temperature = float(np.mean([mean_temperature(each) for each in runs]))
    write_results(out, {"temperature": temperature, **bands(segments)})


if __name__ == "__main__":
    parser = options(__doc__, "results/water_raman")
    start_model = Path("results/electrical_response/water") / RUNG
    parser.add_argument("--model", type=Path, default=start_model)
    parser.add_argument("--picoseconds", type=float, default=50.0, help="length of an NVE run")
    parser.add_argument(
        "--starts", nargs="+", type=int, default=[0], help="a run from each of these frames"
    )
    parser.add_argument("--settling", type=float, default=2.0, help="ps with a thermostat")
    run(main, parser)
