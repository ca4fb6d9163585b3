"""Ionic conductivity of hot dense water from Born charges and from formal charges.

Run:     python experiments/superionic_ice.py --out results/superionic_ice
Needs:   superionic_fit.pth and start_superionic_2gcc.xyz (published models),
         superionic-water-bec (JLES_DATA); one core, an hour.
Writes:  the runs (`jles md`), conductivity.csv and .png, results.json in --out.
Expect:  the two conductivities agree within their errors: where atoms have topological charges,
         Born charges and formal charges give the same (Grasselli, Baroni, Nat. Phys. 15, 967
         (2019)); above 100 S/cm in superionic ice, by simulations that Millot et al. quote
         (Nature 569, 251 (2019)). Protons diffuse; oxygens stay on their lattice, if there is
         one. At 2 g/cm3 and 2000 K there is none: the largest structure factor of the 54
         oxygens is 7 in the published start and 10 to 20 in the DFT frames (50 in those of 4
         g/cm3). Runs at other densities start from the crystal of 4 g/cm3, expanded;
         superionic_search.py finds superionic states among them.
"""

from functools import partial
from pathlib import Path

import ase.io
import numpy as np
from ase import units
from common import (
    born_errors_on,
    duration,
    imported,
    once,
    options,
    run,
    settled,
    simulated,
    write_results,
)

from jles.analysis.charge_flow import formal_flow, recorded_flow
from jles.analysis.reports.conductivity import conductivity
from jles.analysis.reports.outcome import write_outcome
from jles.analysis.run import open_run
from jles.data.sets import data_set, published_model
from jles.models.config import ScreeningConfig

TIMESTEP = 0.4
FORMAL = {"O": -2.0, "H": 1.0}


def start_of(density: float):
    """54 molecules: the published fluid of 2 g/cm^3, else the crystal of 4 g/cm^3, scaled."""
    if density == 2.0:
        return ase.io.read(published_model("start_superionic_2gcc.xyz"))
    crystal = ase.io.read(data_set("superionic-water-bec/S-4cc-T1000K-BEC.xyz"), 0)
    crystal.set_cell(crystal.cell * np.cbrt(4.0 / density), scale_atoms=True)
    return crystal


def density_of(atoms) -> float:
    """Mass density, g/cm^3."""
    gram, cubic_cm = 1e-3 * units.kg, 1e24  # in u and angstrom^3
    return float(atoms.get_masses().sum() / gram / (atoms.get_volume() / cubic_cm))


def permittivity(density: float, every: int = 9) -> float:
    """Electronic dielectric constant, linear in the density between fits at 2 and 4 g/cm^3."""
    fits = [best_permittivity(state, every) for state in ("2cc-T2000K", "4cc-T1000K")]
    return float(np.interp(density, (2.0, 4.0), fits))


def best_permittivity(state: str, every: int) -> float:
    """The constant for which the model's Born charges best fit those of every n-th frame."""
    model = imported("superionic_fit.pth", screening=ScreeningConfig(1.0, "H"))
    frames = ase.io.read(data_set(f"superionic-water-bec/S-{state}-BEC.xyz"), f"::{every}")
    return born_errors_on(frames, model)["best_factor"] ** 2


def bath(temperature: float) -> dict:
    """The thermostat of the runs."""
    return {"kind": "nose-hoover", "temperature": temperature, "thermostat_time": 100.0}


def order_of(oxygens, cell, most: int = 6) -> float:
    """Largest structure factor |sum exp(iGr)|^2 / N at small wave vectors G; N in a crystal."""
    whole = np.arange(-most, most + 1)
    index = np.stack(np.meshgrid(whole, whole, whole), -1).reshape(-1, 3)
    index = index[np.any(index != 0, axis=1)]
    phases = 2.0 * np.pi * (oxygens @ np.linalg.inv(cell)) @ index.T
    return float(np.max(np.abs(np.exp(1j * phases).sum(0)) ** 2) / len(oxygens))


def oxygen_order(trajectory) -> dict[str, float]:
    """Order at both ends; RMS displacement (angstrom) from mean sites and between halves.

    It is relative to the mean of the oxygens, since that of all atoms moves with the protons.
    """
    oxygens = trajectory.read("positions").values[:, trajectory.numbers == 8]
    oxygens = oxygens - oxygens.mean(axis=1, keepdims=True)
    half = len(oxygens) // 2
    around = oxygens - oxygens.mean(axis=0)
    drift = oxygens[half:].mean(axis=0) - oxygens[:half].mean(axis=0)
    cells = trajectory.read("positions", "cell").values
    return {
        "order, start": order_of(oxygens[0], cells[0]),
        "order, end": order_of(oxygens[-1], cells[-1]),
        "vibration": float(np.sqrt(np.mean(np.sum(around**2, axis=-1)))),
        "drift between halves": float(np.sqrt(np.mean(np.sum(drift**2, axis=-1)))),
    }


def transported(trajectory) -> list[dict]:
    """Dipoles that Born and formal charges transport in some times, see `compared`."""
    flows = recorded_flow([trajectory]), formal_flow([trajectory], FORMAL)
    interval = flows[0].current.interval
    dipoles = [interval * np.cumsum(flow.current.parts[0], axis=0) for flow in flows]
    longest = len(dipoles[0]) // 2
    lags = [min(round(1e3 * time / interval), longest) for time in (0.05, 0.2, 1.0, 2.0)]
    return [
        {"picoseconds": 1e-3 * interval * lag}
        | compared(*(dipole[lag:] - dipole[:-lag] for dipole in dipoles))
        for lag in lags
    ]


def compared(born, formal, blocks: int = 8) -> dict:
    """Dipoles transported by Born charges as a fraction of those by formal ones.

    Where charges are topological, both differ by a bounded amount however long the time, so the
    fraction tends to 1, and so does the correlation. `rest` (e angstrom) is the dipole by Born
    charges less the fraction of that by formal ones. The error of the fraction is that of
    blocks.
    """
    pieces = zip(np.array_split(born, blocks), np.array_split(formal, blocks), strict=True)
    series = [np.vdot(b, f) / np.vdot(f, f) for b, f in pieces]
    fraction = np.vdot(born, formal) / np.vdot(formal, formal)
    return {
        "fraction": float(fraction),
        "its_error": float(np.std(series, ddof=1) / np.sqrt(blocks)),
        "correlation": float(
            np.vdot(born, formal) / np.linalg.norm(born) / np.linalg.norm(formal)
        ),
        "rest": float(np.sqrt(np.mean((born - fraction * formal) ** 2))),
        "rms_by_formal_charges": float(np.sqrt(np.mean(formal**2))),
    }


def main(chosen):
    out, temperature, every = chosen.out, chosen.temperature, 9
    if chosen.smoke:
        chosen.picoseconds, chosen.settling, every = 0.16, 0.005, 100
    given = chosen.start is not None
    start = ase.io.read(chosen.start) if given else start_of(chosen.density)
    epsilon = once(out / "permittivity.json", partial(permittivity, density_of(start), every))
    model = imported("superionic_fit.pth", screening=ScreeningConfig(epsilon, "H"))
    hot = start
    if not given:
        length = duration(chosen.settling, TIMESTEP)
        hot = settled(model, start, length, temperature, out / "settle")
    simulated(
        model,
        hot,
        {
            **duration(chosen.picoseconds, TIMESTEP),
            "ensemble": bath(temperature),
            "record": {"thermo": 20, "current": 5, "positions": 5, "velocities": 5},
            "checkpoint": 2000,
        },
        out / "run",
    )
    trajectory = open_run(out / "run")
    found = conductivity([trajectory], FORMAL, chosen.window)
    write_outcome(found, out)
    print("\n".join(found.lines))
    state = {"epsilon_infinity": epsilon, "oxygen": oxygen_order(trajectory)}
    state["transported"] = transported(trajectory)
    write_results(out, {"words": found.lines, **state})


if __name__ == "__main__":
    parser = options(__doc__, "results/superionic_ice")
    parser.add_argument("--density", type=float, default=2.0, help="g/cm3, without --start")
    parser.add_argument("--temperature", type=float, default=2000.0, help="K")
    parser.add_argument("--start", type=Path, metavar="FILE", help="a state already settled")
    parser.add_argument("--picoseconds", type=float, default=20.0, help="length of the run")
    parser.add_argument("--window", type=float, help="of Green-Kubo, fs (default: found)")
    parser.add_argument("--settling", type=float, default=1.0, help="ps before it")
    run(main, parser)
