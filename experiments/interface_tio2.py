"""Sodium chloride solution between faces of TiO2(101): layers, orientation, latent potential.

Run:     python experiments/interface_tio2.py --out results/interface_tio2
Needs:   seeds/tio2_nacl_aq_les.pth (published model), structures/TiO2_NaCl_aq_8784.xyz
         (JLES_DATA); one core, 22 minutes.
Writes:  the run (`jles md`), results.json and interface_tio2.png in --out.
Expect:  water in layers on the oxide, the same on both faces; no field in the middle of the
         solution (as in arXiv 2404.00167); the particle mesh and the direct sum agree within
         the accuracy of 1e-4.

The start is the published structure of 8,784 atoms. Hydrogen has a mass of 4 u, which changes
no average over positions and allows steps of 2 fs. Both faces are the same, so the difference
between the two halves of the cell shows the statistical error.
"""

import time
from functools import partial

import ase.io
import numpy as np
from common import imported, run, write_results
from interfaces import (
    draw_across,
    first_layer,
    in_halves,
    middle_of,
    orientation,
    sampled,
    sampling_options,
)

from jles.analysis.conditions import mean_temperature
from jles.analysis.estimators.planar import planar_potential, planes_of
from jles.analysis.reports.profile import POTENTIAL, profiles
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.electrostatics import Multipoles, lattice_sum
from jles.predict.model import Model

MODEL = "seeds/tio2_nacl_aq_les.pth"
TEMPERATURE = 330.0
TIMESTEP = 2.0
WIDTH = 0.25
"""Of a layer, angstrom."""
FIRST_LAYER = 3.0
"""Upper end of the first layer of water over the outermost titanium, angstrom."""
MIDDLE = 15.0
"""Half the thickness of what counts as the middle of the solution, angstrom."""


def start():
    """The published structure."""
    return ase.io.read(data_set("structures/TiO2_NaCl_aq_8784.xyz"))


def dynamics(model, atoms, chosen, out):
    """A run with a thermostat; it resumes where it stopped."""
    record = {"thermo": 10, "positions": 10, "charges": 10}
    more = {"record": record, "block": 10, "checkpoint": 20}
    sampled(model, atoms, chosen, TIMESTEP, TEMPERATURE, out, **more)
    return open_run(out, 1e3 * chosen.settling)


def two_sums(atoms, charges, model: Model) -> dict:
    """Energy and forces of these charges by both sums, and their processor time (s)."""
    sums = model.config.electrostatics
    record, forces = {}, {}
    for method in ("direct", "mesh"):
        summed = partial(
            lattice_sum,
            Multipoles(np.float32(charges)),
            np.float32(atoms.positions),
            atoms.cell.array,
            sigma=sums.sigma,
            k_max=sums.k_max,
            method=method,
            accuracy=sums.accuracy,
        )
        out = summed()
        begin = time.process_time()
        np.asarray(summed().field)
        seconds = time.process_time() - begin
        forces[method] = charges[:, None] * np.asarray(out.field, float)
        record[method] = {"energy_ev": float(out.energy), "processor_seconds": seconds}
    difference = forces["mesh"] - forces["direct"]
    record["rms_force_difference_mev"] = 1e3 * float(np.sqrt(np.mean(difference**2)))
    record["rms_force_mev"] = 1e3 * float(np.sqrt(np.mean(forces["direct"] ** 2)))
    return record


def of_cutoff(atoms, charges, model: Model) -> float:
    """Largest difference (V) between the potential with the model's cutoff and without one."""
    planes, heights = planes_of(atoms.cell.array), atoms.positions[:, 2]
    at = np.linspace(0.0, planes.period, 200)
    sums = model.config.electrostatics
    both = [
        planar_potential(
            at, heights, charges, planes.area, planes.period, sigma=sums.sigma, k_max=k_max
        ).potential
        for k_max in (None, sums.k_max)
    ]
    return float(np.abs(both[0] - both[1]).max())


def summary(table: dict, water, cosine) -> dict:
    """Numbers of both faces; heights are those over the outermost titanium layer."""
    heights = table["height (angstrom)"]
    middle = 0.5 * (heights[0] + heights[-1])
    titanium = table["density of Ti (1/angstrom^3)"]
    lower, upper = heights < middle, heights > middle
    record = {"faces": {}}
    for side, chosen, sign in (("lower", lower, 1.0), ("upper", upper, -1.0)):
        above = sign * heights - (sign * heights[chosen & (titanium > 0.0)]).max()
        first = chosen & (above < FIRST_LAYER)
        record["faces"][side] = first_layer(above, first, water, cosine, sign)
    bulk = np.abs(heights - middle) < MIDDLE
    oxide = np.minimum(heights - heights[0], heights[-1] - heights) < 1.5
    record["middle"] = middle_of(table, water, bulk) | {
        "cosine": float(cosine[bulk].sum() / water[bulk].sum()),
        "potential_of_solution_less_oxide": float(
            table[POTENTIAL][bulk].mean() - table[POTENTIAL][oxide].mean()
        ),
    }
    return record


def main(chosen):
    if chosen.smoke:
        chosen.settling, chosen.picoseconds = 0.0, 0.04
    model, atoms = imported(MODEL), start()
    trajectory = dynamics(model, atoms, chosen, chosen.out / "run")
    table = profiles([trajectory], width=WIDTH).columns
    frames = trajectory.read("positions").values
    planes = planes_of(atoms.cell.array)
    edges = np.linspace(0.0, planes.period, len(table["height (angstrom)"]) + 1)
    number, oriented = orientation(atoms, frames, edges)
    water, cosine = in_halves(number), in_halves(oriented)
    results = summary(table, water[0], cosine[0])
    charges = trajectory.read("charges").values[-1].sum(axis=-1)
    atoms.positions = frames[-1]
    results["sums"] = two_sums(atoms, charges, model)
    results["largest_effect_of_cutoff_v"] = of_cutoff(atoms, charges, model)
    results["mean_latent_charges"] = {
        symbol: float(charges[np.array(atoms.symbols) == symbol].mean())
        for symbol in sorted(set(atoms.get_chemical_symbols()))
    }
    results["temperature"] = mean_temperature(trajectory)
    results["frames"] = len(frames)
    path = chosen.out / "interface_tio2.png"
    draw_across(path, table, water, cosine, "Ti", {"Na": 20, "Cl": 20})
    write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, sampling_options(__doc__, "results/interface_tio2", 0.2, 0.4))
