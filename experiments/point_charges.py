"""Do energies and forces of a few configurations reveal hidden point charges?

Run:     python experiments/point_charges.py --out results/point_charges
Needs:   synthetic-random-charges, seeds/random_charges_{les,sr}_r4.pth (published models,
         JLES_DATA); 2 cores, about 20 minutes, one with --only-published.
Writes:  a model for each case, results.json and a picture of each case in --out.
Expect:  published for 128 particles, 10 configurations, cutoff 4 angstrom, l 3, body order 3:
         mean absolute charge error 0.00068 e and forces 16.4 meV/angstrom (MAE); without the
         long-range part 175-227 meV/angstrom (Cheng, npj Comput. Mater. 11, 80 (2025)).

Cases: the data set (10 of its 60 frames) and configurations made by `jles.demo` (10 and 100).
Ten further frames choose the best epoch; the remaining frames are the test set. The published
models are evaluated on all 60 frames of the data set; they were trained on other frames.
"""

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from common import imported, options, run, trained, training_seconds, write_results

from jles.data.sets import data_set
from jles.demo.point_charges import make_frames
from jles.demo.run import compare, draw, report, settings, summarize
from jles.pictures import ACCENT, SECOND, new_figure, save_figure


def split(out, name, frames, count, checked):
    """Files of `count` training and `checked` validation frames, and the test frames."""
    parts = {"train": frames[:count], "valid": frames[count : count + checked]}
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    for part, atoms in parts.items():
        files[part] = out / f"{name}_{part}.xyz"
        ase.io.write(files[part], atoms)
    return files, frames[count + checked :]


def one_case(out, name, frames, count, epochs, smoke):
    """Trains with and without charges; returns numbers and predictions on the test frames."""
    files, test = split(out, name, frames, count, checked=2 if smoke else 10)
    found = {}
    seconds = {}
    for kind in ("with_charges", "without_charges"):
        place = out / name / kind
        latent = kind == "with_charges"
        # Without charges there is little to learn: a third of the epochs is enough.
        rounds = epochs if latent else epochs // 3
        values = settings(files["train"], files["valid"], latent=latent, epochs=rounds)
        model = trained(values, place, smoke)
        found[kind] = compare(model, test)
        seconds[kind] = training_seconds(place)
    summary = summarize(found) | {
        "epochs": epochs,
        "frames": count,
        "test_frames": len(test),
        "training_seconds": seconds,
    }
    report(summary)
    return summary, found


def published(data) -> tuple[dict, dict]:
    """Numbers and predictions of the published models, whose particles are H and He."""
    frames = []
    for atoms in data:
        names = np.where(atoms.numbers == 11, 1, 2)
        copy = Atoms(names, atoms.positions, cell=atoms.cell, pbc=True)
        copy.arrays["charge_ref"] = atoms.arrays["charge_ref"]
        copy.calc = SinglePointCalculator(
            copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces()
        )
        frames.append(copy)
    kinds = {"with_charges": "les", "without_charges": "sr"}
    found = {
        name: compare(imported(f"seeds/random_charges_{kind}_r4.pth"), frames)
        for name, kind in kinds.items()
    }
    with_charges = found["with_charges"]
    error = np.abs(with_charges.charges - with_charges.truth)
    summary = {
        "frames": len(frames),
        "median_charge_positive_e": float(
            np.median(with_charges.charges[with_charges.truth > 0])
        ),
        "median_charge_negative_e": float(
            np.median(with_charges.charges[with_charges.truth < 0])
        ),
        "median_charge_error_e": float(np.median(error)),
        "share_of_charges_within_0.01_e": float(np.mean(error < 0.01)),
        "share_of_charges_within_0.1_e": float(np.mean(error < 0.1)),
    }
    right = np.all(error < 0.01, axis=1)
    summary["frames_with_all_charges_within_0.01_e"] = int(right.sum())
    for name, one in found.items():
        force = 1e3 * np.abs(one.forces - one.reference)
        summary[f"median_force_error_{name}_mev_per_angstrom"] = float(np.median(force))
        if right.any():
            summary[f"force_mae_of_these_frames_{name}"] = float(force[right].mean())
    return summary, found


def draw_published(path, found) -> None:
    """Errors of charges and forces of the published models, on logarithmic axes."""
    figure, (left, right) = new_figure(columns=2, width=4.6, height=3.4)
    one = found["with_charges"]
    error = np.abs(one.charges - one.truth)
    left.hist(error.ravel(), bins=np.geomspace(1e-5, 1e2, 71), color=ACCENT)
    left.set(xscale="log", xlabel="absolute charge error (e)", ylabel="particles")
    for (name, one), color in zip(found.items(), (ACCENT, SECOND), strict=True):
        error = 1e3 * np.abs(one.forces - one.reference).ravel()
        bins, label = np.geomspace(1e-1, 1e7, 81), name.replace("_", " ")
        right.hist(error, bins=bins, color=color, alpha=0.7, label=label)
    right.set(xscale="log", xlabel="absolute force error (meV/Å)", ylabel="force components")
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    data = ase.io.read(data_set("synthetic-random-charges/random_charges_128.xyz"), ":")
    if chosen.smoke:
        cases = {"data_2": (data[:5], 2, 3), "made_2": (make_frames(5, seed=7), 2, 3)}
    else:
        made = make_frames(130, seed=7)
        cases = {
            "data_10": (data, 10, 1500),
            "made_100": (made, 100, 300),
            "made_10": (made, 10, 1500),
        }
    results = {}
    results["published"], found = published(data[:3] if chosen.smoke else data)
    draw_published(chosen.out / "published.png", found)
    if chosen.only_published:
        write_results(chosen.out, results)
        return
    for name, case in cases.items():
        results[name], found = one_case(chosen.out, name, *case, chosen.smoke)
        draw(chosen.out / f"{name}.png", found)
        write_results(chosen.out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/point_charges")
    parser.add_argument("--only-published", action="store_true", help="train nothing")
    run(main, parser)
