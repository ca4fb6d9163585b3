"""Do energies and forces of a few configurations reveal hidden point charges?

Run:     python experiments/point_charges.py --out results/point_charges
Needs:   synthetic-random-charges (JLES_DATA); 2 cores, about 20 minutes.
Writes:  a model for each case, results.json and a picture of each case in --out.
Expect:  published for 128 particles, 10 configurations, cutoff 4 angstrom, l 3, body order 3:
         mean absolute charge error 0.00068 e and forces 16.4 meV/angstrom (MAE); without the
         long-range part 175-227 meV/angstrom (Cheng, npj Comput. Mater. 11, 80 (2025)).

Cases: the data set (10 of its 60 frames) and configurations made by `jles.demo` (10 and 100).
Ten further frames choose the best epoch; the remaining frames are the test set.
"""

import ase.io
from common import options, run, trained, training_seconds, write_results

from jles.data.sets import data_set
from jles.demo.point_charges import make_frames
from jles.demo.run import compare, draw, report, settings, summarize


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
    for name, case in cases.items():
        results[name], found = one_case(chosen.out, name, *case, chosen.smoke)
        draw(chosen.out / f"{name}.png", found)
        write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/point_charges"))
