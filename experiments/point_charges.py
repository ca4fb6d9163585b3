"""How many configurations does it take to find hidden point charges from energies and forces?

Run:     python experiments/point_charges.py --out results/point_charges
Needs:   synthetic-random-charges (JLES_DATA) for the first case; 2 cores, about 20 minutes.
Writes:  a model for each case, results.json, point_charges.png in --out.
Expect:  published for 128 particles, 10 configurations, cutoff 4 angstrom, l 3, body order 3: mean
         absolute charge error 0.00068 e and forces 16.4 meV/angstrom (MAE); without the
         long-range part 175-227 meV/angstrom (Cheng, npj Comput. Mater. 11, 80 (2025)).

Cases: the data set (10 of its 60 frames) and configurations made by `jles.demo` (10 and 100). The
best epoch is chosen on 10 more frames, and the rest of the frames judges.
"""

import ase.io
from common import arguments, trained, training_seconds, write_results

from jles.data.sets import data_set
from jles.demo.point_charges import make_frames
from jles.demo.run import compare, draw, report, settings, summarize


def parts(out, name, frames, count):
    """Training, validation and test frames of a case; the first two as files."""
    chosen = {"train": frames[:count], "valid": frames[count : count + 10]}
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    for part, atoms in chosen.items():
        files[part] = out / f"{name}_{part}.xyz"
        ase.io.write(files[part], atoms)
    return files, frames[count + 10 :]


def one_case(out, name, frames, count, epochs):
    """Trains with and without charges, returns numbers and predictions on the test frames."""
    files, test = parts(out, name, frames, count)
    found = {}
    seconds = {}
    for run in ("with_charges", "without_charges"):
        place = out / name / run
        latent = run == "with_charges"
        # Without charges there is little to learn: a third of the epochs is enough.
        rounds = epochs if latent else epochs // 3
        values = settings(files["train"], files["valid"], latent=latent, epochs=rounds)
        model = trained(values, place)
        found[run] = compare(model, test)
        seconds[run] = training_seconds(place)
    summary = summarize(found) | {
        "epochs": epochs,
        "frames": count,
        "test_frames": len(test),
        "training_seconds": seconds,
    }
    report(summary)
    return summary, found


def main():
    out = arguments(__doc__, "results/point_charges").out
    made = make_frames(130, seed=7)
    data = ase.io.read(data_set("synthetic-random-charges/random_charges_128.xyz"), ":")
    cases = {
        "data_10": (data, 10, 1500),
        "made_100": (made, 100, 300),
        "made_10": (made, 10, 1500),
    }
    results = {}
    for name, (frames, count, epochs) in cases.items():
        results[name], found = one_case(out, name, frames, count, epochs)
        draw(out / f"{name}.png", found)
        write_results(out, results)


if __name__ == "__main__":
    main()
