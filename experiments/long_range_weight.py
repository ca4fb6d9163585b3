"""Were published models trained with the weight of the long-range energy in their files?

Run:     python experiments/long_range_weight.py --out results/long_range_weight
Needs:   lrfit_water_mp1.pth, seeds/water_interface_les.pth, seeds/dimer_CP_les.pth (published
         models), water-rpbe-d3, lode-charged-dimers (JLES_DATA); one core, three minutes.
Writes:  results.json and long_range_weight.png in --out.
Expect:  the errors of energies and forces are smallest near the weight of the training, and
         with it the Born charges of water are those of DFT, since energies and forces determine
         the charges (arXiv 2504.05169).

The older CACE-LES code saves a model as a sum of a short-range and a long-range model, with a
weight for each. The energy and the forces are linear in the weight, so that two evaluations
give them for every weight.
"""

import ase.io
import numpy as np
from common import born_errors_on, error_of, imported, options, run, write_results

from jles.analysis.reports.drawing import rule
from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.pictures import PALETTE, new_figure, save_figure

FILES = {
    "lrfit_water_mp1.pth": (0.01, "water-rpbe-d3/ef.xyz"),
    "seeds/water_interface_les.pth": (0.02, "water-rpbe-d3/ef.xyz"),
    "seeds/dimer_CP_les.pth": (0.2, "lode-charged-dimers/CP.xyz"),
}
"""By model: the weight in its file, and frames to compare with."""
WEIGHTS = np.logspace(-2.5, 1.0, 71)
WATER = ScreeningConfig(1.78, "H")


def parts(name: str, frames) -> dict:
    """Deviations of energies (eV an atom) and forces from DFT without the long-range part, and
    that part for a weight of 1."""
    atoms = np.array([len(frame) for frame in frames])
    reference = {
        "energy": np.array([frame.get_potential_energy() for frame in frames]) / atoms,
        "forces": np.concatenate([frame.get_forces().ravel() for frame in frames]),
    }
    once, twice = (_labels(name, frames, weight) for weight in (1.0, 2.0))
    long_range = {key: twice[key] - once[key] for key in reference}
    return {
        key: (once[key] - long_range[key] - reference[key], long_range[key])
        for key in reference
    }


def _labels(name: str, frames, weight: float) -> dict:
    model = imported(name, dtype="float64", long_range_weight=weight)
    outs = model.predict(frames, ("energy", "forces"))
    return {
        "energy": np.array([out.energy / len(out.forces) for out in outs]),
        "forces": np.concatenate([out.forces.ravel() for out in outs]),
    }


def errors(found: dict, weight: float) -> dict:
    """Of energies (meV an atom, their mean taken out) and forces (meV/angstrom)."""
    energy, forces = (found[key][0] + weight * found[key][1] for key in ("energy", "forces"))
    return {
        "energy": 1e3 * float(np.std(energy)),
        "forces": 1e3 * error_of([(np.zeros_like(forces), forces)])["rmse"],
    }


def best_weight(deviation, long_range) -> float:
    """The weight with the smallest sum of squares."""
    return -float(np.vdot(deviation, long_range) / np.vdot(long_range, long_range))


def of_born_charges(name: str, weight: float, every: int) -> dict:
    """Errors of the Born charges of water (e)."""
    frames = ase.io.read(data_set("water-rpbe-d3/ef_bec.xyz"), f"::{every}")
    model = imported(name, screening=WATER, long_range_weight=weight)
    return born_errors_on(frames, model)


def summary(name: str, found: dict, every: int) -> dict:
    """Errors without long range, with the weight of the file and with 1; the best weights."""
    in_file, frames = FILES[name]
    energy = [part - part.mean() for part in found["energy"]]
    record = {
        "weight_in_file": in_file,
        "best_weight_for_energies": best_weight(*energy),
        "best_weight_for_forces": best_weight(*found["forces"]),
    }
    for weight in (0.0, in_file, 1.0):
        record[f"{weight:g}"] = errors(found, weight)
        if weight and frames.startswith("water"):
            born = of_born_charges(name, weight, every)
            record[f"{weight:g}"] |= {
                "born_charges": born["rmse"],
                "born_charges_r2": born["r2"],
                "best_factor": born["best_factor"],
            }
    return record


def draw(path, everything: dict) -> None:
    """Errors against the weight, relative to those without the long-range part."""
    figure, axes = new_figure(3.6, 3.0, columns=2)
    for (name, found), color in zip(everything.items(), PALETTE, strict=False):
        without = errors(found, 0.0)
        for axis, key in zip(axes, without, strict=True):
            curve = [errors(found, weight)[key] / without[key] for weight in WEIGHTS]
            label = name.removeprefix("seeds/").removesuffix(".pth")
            axis.loglog(WEIGHTS, curve, color=color, label=label)
            at = FILES[name][0]
            axis.plot(at, errors(found, at)[key] / without[key], "o", color=color)
    for axis, key in zip(axes, ("energy", "force"), strict=True):
        rule(axis, 1.0, along="x")
        axis.set(xlabel="weight of the long-range energy", ylabel=f"{key} error / without it")
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    step, every = (20, 70) if chosen.smoke else (4, 14)
    found = {
        name: parts(name, ase.io.read(data_set(frames), f"::{step if 'water' in name else 1}"))
        for name, (_, frames) in FILES.items()
    }
    draw(chosen.out / "long_range_weight.png", found)
    write_results(chosen.out, {name: summary(name, found[name], every) for name in FILES})


if __name__ == "__main__":
    run(main, options(__doc__, "results/long_range_weight"))
