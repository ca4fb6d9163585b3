"""Infrared spectrum of liquid water from a model of energies and forces, also in a field.

Run:     python experiments/water_infrared.py --out results/water_infrared
Needs:   water_v1.pth and start_water_64.xyz (published models); two cores, about two hours.
Writes:  runs (`jles md`), spectrum.csv of each, results.json and water_infrared.png in --out.
Expect:  libration near 685, bend near 1640, stretch near 3410 1/cm (Bertie and Lan, Appl.
         Spectrosc. 50, 1047 (1996), liquid water at 25 C), n alpha about 1.4, 1.9 and 15 x 10^3
         1/cm; with classical nuclei the stretch is higher. A field orders the molecules: the
         stretch shifts to the red, the libration to the blue (Cassone et al., J. Chem. Phys.
         2019).
"""

from pathlib import Path

import ase.io
import numpy as np
from common import duration, imported, options, run, settled, simulated, write_results

from jles.analysis.reports.infrared import infrared
from jles.analysis.run import open_run
from jles.data.sets import published_model
from jles.models.config import ScreeningConfig
from jles.pictures import ACCENT, GUIDE, INK, SECOND, new_figure, save_figure

TIMESTEP = 0.25
FIELDS = (0.0, 0.05, 0.1, 0.15)
BANDS = {"libration": (350.0, 1000.0), "bend": (1450.0, 1850.0), "stretch": (2900.0, 4000.0)}
EXPERIMENT = {"libration": 685.0, "bend": 1640.0, "stretch": 3410.0}
EPSILON_INFINITY = 1.78


def in_field(model, out: Path, strength: float, picoseconds: float, settling: float) -> Path:
    """The folder of an NVE run with its current, after `settling` ps with a thermostat."""
    field = {}
    if strength:
        along = {"kind": "constant", "amplitude": [0, 0, strength], "unit": "V/angstrom"}
        field = {"field": along | {"work": False}}
    record = {"thermo": 20, "positions": 400}
    # The runs in a field start from the liquid that has settled without one.
    start = ase.io.read(published_model("start_water_64.xyz"))
    if strength:
        start = ase.io.read(out / "settle_0" / "final.extxyz")
    length, settle = duration(settling, TIMESTEP), out / f"settle_{strength:g}"
    warm = settled(model, start, length, 300.0, settle, friction=5.0, record=record, **field)
    place = out / f"nve_{strength:g}"
    simulated(
        model,
        warm,
        {
            **duration(picoseconds, TIMESTEP),
            "ensemble": {"kind": "nve"},
            "record": record | {"current": 4, "velocities": 8},
            **field,
        },
        place,
    )
    return place


def band_positions(wavenumber, height) -> dict[str, dict[str, float]]:
    """Centre of gravity above half the maximum, highest point, integral of each band."""
    found = {}
    for name, (low, high) in BANDS.items():
        inside = (wavenumber >= low) & (wavenumber <= high)
        nu, values = wavenumber[inside], height[inside]
        top = values > 0.5 * values.max()
        found[name] = {
            "center": float(np.average(nu[top], weights=values[top])),
            "highest": float(nu[np.argmax(values)]),
            "maximum": float(values.max()),
            "integral": float(np.trapezoid(values, nu)),
        }
    return found


def draw(path: Path, spectra: dict) -> None:
    """Absorption against wavenumber, with bands of one standard error."""
    figure, (axis,) = new_figure(7.0, 4.0)
    colors = [INK, ACCENT, "#2e7d46", SECOND]
    for (strength, (nu, mean, error)), color in zip(spectra.items(), colors, strict=False):
        axis.plot(nu, mean * 1e-3, color=color, linewidth=1.0, label=f"{strength:g} V/Å")
        axis.fill_between(
            nu,
            (mean - error) * 1e-3,
            (mean + error) * 1e-3,
            color=color,
            alpha=0.2,
            linewidth=0,
        )
    for name, place in EXPERIMENT.items():
        axis.axvline(place, color=GUIDE, linewidth=0.8, linestyle="--", zorder=0.9)
        axis.annotate(
            f"{name}\n(exp.)", (place, 0.98), xycoords=("data", "axes fraction"), fontsize=7,
            ha="left", va="top", xytext=(3, 0), textcoords="offset points", color="#666666",
        )  # fmt: skip
    axis.set(
        xlabel="wavenumber (cm⁻¹)", ylabel="n α (10³ cm⁻¹)", xlim=(0, 4200), ylim=(0, None)
    )
    axis.set_title("Liquid water, 64 molecules, classical nuclei; model of energies and forces",
                   fontsize=9)  # fmt: skip
    axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.58, 1.0))
    save_figure(figure, path)


def main(chosen):
    out, resolution = chosen.out, 40.0
    if chosen.smoke:
        chosen.fields, chosen.picoseconds, chosen.settling = [0.0, 0.1], 0.07, 0.005
        resolution = 1000.0
    model = imported("water_v1.pth", screening=ScreeningConfig(EPSILON_INFINITY, "H"))
    results, spectra = {}, {}
    for strength in chosen.fields:
        place = in_field(model, out, strength, chosen.picoseconds, chosen.settling)
        found = infrared([open_run(place)], resolution=resolution)
        print("\n".join(found.lines))
        nu, mean, error = found.columns.values()
        spectra[strength] = nu, mean, error
        thermo = open_run(place).read("thermo", "temperature").values
        results[f"{strength:g} V/angstrom"] = band_positions(nu, mean) | {
            "temperature": float(thermo.mean())
        }
        write_results(out, results)
        draw(out / "water_infrared.png", spectra)


if __name__ == "__main__":
    parser = options(__doc__, "results/water_infrared")
    parser.add_argument("--fields", nargs="+", type=float, default=list(FIELDS), help="V/A")
    parser.add_argument("--picoseconds", type=float, default=20.0, help="length of the NVE run")
    parser.add_argument("--settling", type=float, default=5.0, help="ps with a thermostat")
    run(main, parser)
