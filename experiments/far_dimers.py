"""What do models of dimers get wrong far outside their cutoff, and what does it take?

Run:     python experiments/far_dimers.py --out results/far_dimers
Needs:   lode-charged-dimers (JLES_DATA), seeds/dimer_{CC,CP,CA}_{les,sr}.pth (published
         models); one core, a minute with --only-published, and 75 s for each training.
Writes:  PAIR_VARIANT/ (models), results.json and far_dimers.png in --out.
Expect:  errors of 5.8 meV for CC, 5.8 meV for CA, 14.2 meV for CP and 8.6 meV for PP on DFT
         frames at 13-15 angstrom, which are not in the data; forces of CC 8.3 meV/angstrom
         (Cheng, npj Comput. Mater. 11, 80 (2025)).

In the data, rigid fragments approach along one line. Their energy is therefore a function of
the distance, and outside the overlap of the electrons that function is known: it is a sum of
the potential of a charge in the periodic box and its derivatives (dipole, quadrupole), of its
squared field (induced dipole) and of 1/r^6. The coefficients are fitted to the DFT energies of
the outer frames alone, without forces. This far law is the reference beyond the data. It is
tested first: fitted without the two outermost frames, it has to predict them.
"""

from typing import NamedTuple

import ase.io
import jax
import numpy as np
from charged_dimers import SETTINGS, centers, evaluate, fragments, gauge, moved, net_force
from common import error_of, imported, options, run, trained, training_seconds, write_results
from scipy.interpolate import make_interp_spline

from jles.data.sets import data_set
from jles.electrostatics import Multipoles, lattice_sum
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure

FAR = np.arange(13.0, 15.01, 0.25)
CURVE = np.arange(5.0, 15.01, 0.25)
FIRST = 3  # the three innermost frames are not in the fits
TERMS = {
    "CC": ("charge", "dipole", "quadrupole", "induced"),
    "CP": ("dipole", "quadrupole", "induced"),
    "CA": ("quadrupole", "induced"),
    "PP": ("dipole-dipole", "dipole-quadrupole", "dispersion"),
    "PA": ("dispersion",),
    "AA": ("dispersion",),
}
DERIVATIVE = {
    "charge": 0, "dipole": 1, "quadrupole": 2, "dipole-dipole": 2, "dipole-quadrupole": 3,
}  # fmt: skip
PUBLISHED = ("CC", "CP", "CA")
EPOCHS = 300
TRAINING = SETTINGS | {
    "epochs": EPOCHS,
    "loss": {"energy": {0: 1.0, 2 * EPOCHS // 3: 300.0}, "forces": 1.0},
    "optimizer": {"learning_rate": 2e-2, "warmup_steps": 100, "clip_update": 1.0},
    "checkpoint_every": 100,
}


VARIANTS = {
    "charges": TRAINING,
    "energy_weight_1": TRAINING | {"loss": {"energy": 1.0, "forces": 1.0}},
    "total_free": TRAINING | {"model": TRAINING["model"] | {"charges": {"total": "free"}}},
}


def variants(name: str, smoke: bool) -> tuple[str, ...]:
    """Trainings of a pair: all of them for CP, which shows what holds it back."""
    if smoke:
        return ("charges",)
    return tuple(VARIANTS) if name == "CP" else ("charges", "total_free")


class Line(NamedTuple):
    """The frames of a pair: all on one line, with rigid fragments."""

    frames: list
    distances: np.ndarray
    energies: np.ndarray
    axis: np.ndarray


def line(pair: str) -> Line:
    """The ten frames of a pair."""
    frames = ase.io.read(data_set(f"lode-charged-dimers/{pair}.xyz"), ":")
    between = np.array([np.diff(centers(a), axis=0)[0] for a in frames])
    distances = np.linalg.norm(between, axis=1)
    energies = np.array([a.get_potential_energy() for a in frames])
    return Line(frames, distances, energies, between[-1] / distances[-1])


def potential_of_charge(pair: Line):
    """Potential (V) of +1 e and its images at a distance along the line, as a spline."""
    grid = np.arange(4.0, 17.0, 0.25)
    places = np.concatenate([[0.0], grid])[:, None] * pair.axis
    charges = np.eye(1, len(places))[0]  # the other places only read the potential
    with jax.enable_x64(True):
        found = lattice_sum(
            Multipoles(charges),
            places,
            pair.frames[0].cell.array,
            pbc=True,
            sigma=0.7,
            k_max=9.0,
        )
        values = np.asarray(found.potential)[1:]
    return make_interp_spline(grid, values, 7)


def basis(spline, terms, distances):
    """Values and slopes of the terms, each (distances, 1 + terms); the first is a constant."""
    r = np.asarray(distances, float)
    columns = [(np.ones_like(r), np.zeros_like(r))]
    for term in terms:
        if term == "induced":
            field, gradient = spline.derivative(1)(r), spline.derivative(2)(r)
            columns.append((field**2, 2.0 * field * gradient))
        elif term == "dispersion":
            columns.append((r**-6, -6.0 * r**-7))
        else:
            order = DERIVATIVE[term]
            columns.append((spline(r, order), spline(r, order + 1)))
    values, slopes = zip(*columns, strict=True)
    return np.transpose(values), np.transpose(slopes)


def far_law(pair: Line, spline, terms, used, product=None):
    """A function of distances that gives energies (eV) and slopes (eV/angstrom).

    The coefficients are fitted to the energies of the frames `used`. The `product` of the
    charges of the fragments (e^2) is fixed, by default at that of the nominal charges.
    """
    if product is None:
        product = float(pair.frames[0].info["chargeA"] * pair.frames[0].info["chargeB"])
    free = [term for term in terms if term != "charge"]
    values, _ = basis(spline, free, pair.distances[used])
    fixed = product * spline(pair.distances[used])
    zero = pair.energies[used].mean()
    scale = np.linalg.norm(values, axis=0)
    fitted = np.linalg.lstsq(values / scale, pair.energies[used] - zero - fixed, rcond=None)[0]
    coefficients = fitted / scale

    def law(distances):
        values, slopes = basis(spline, free, distances)
        energies = zero + values @ coefficients + product * spline(distances)
        return energies, slopes @ coefficients + product * spline(distances, 1)

    return law


def what_it_takes(pair: Line, spline, terms) -> dict:
    """Energy errors (meV) of laws with the first one, two, ... of the terms.

    `data_mev` and `far_mev`: fitted to the seven outer frames; the error there, and the
    difference from the law with all terms at 13-15 angstrom. `predicted_mev`: fitted without
    the two outermost frames, the error at these two.
    """
    count = len(pair.frames)
    used, last = np.arange(FIRST, count), np.arange(count - 2, count)
    best = far_law(pair, spline, terms, used)
    record = {}
    for many in range(1, len(terms) + 1):
        law = far_law(pair, spline, terms[:many], used)
        inner = far_law(pair, spline, terms[:many], used[:-2])
        record[" + ".join(terms[:many])] = {
            "data_mev": rms(law(pair.distances[used])[0] - pair.energies[used]),
            "predicted_mev": rms(inner(pair.distances[last])[0] - pair.energies[last]),
            "far_mev": rms(law(FAR)[0] - best(FAR)[0]),
        }
    return record


def rms(values) -> float:
    """Root mean square in thousandths."""
    return 1e3 * float(np.sqrt(np.mean(np.square(values))))


def forces_against_energies(pair: Line, law) -> float:
    """Mean difference (meV/angstrom) of DFT net forces and slopes of DFT energies, outwards.

    Of the four outermost frames.
    """
    forces = np.array([net_force(a.get_forces(), a) @ pair.axis for a in pair.frames[-4:]])
    return 1e3 * float(np.mean(forces + law(pair.distances[-4:])[1]))


def false_product(pair: Line, spline, terms, product: float) -> dict:
    """What the data say about another product of the fragments' charges (e^2).

    A law with this product is fitted to the data (meV); at 13-15 angstrom its difference from
    the far law is the error that the product alone makes.
    """
    used = np.arange(FIRST, len(pair.frames))
    law, other = (far_law(pair, spline, terms, used, p) for p in (None, product))
    return {
        "product": product,
        "data_energy_mev": rms(other(pair.distances[used])[0] - pair.energies[used]),
        "far_energy_mev": rms(other(FAR)[0] - law(FAR)[0]),
    }


def score(model, pair: Line, law) -> tuple[dict, np.ndarray]:
    """Errors at the frames of the data and at 13-15 angstrom, and the curve of energies.

    Energies are compared after a constant is removed, the mean difference at the ten frames:
    imported models have no element energies.
    """
    found = model.predict(pair.frames, want=("energy", "forces"))
    difference = np.array([f.energy for f in found]) - pair.energies
    zero = difference.mean()
    forces = [(a.get_forces(), f.forces) for a, f in zip(pair.frames, found, strict=True)]
    last = pair.frames[-1]
    energies, net, charges = evaluate(model, [moved(last, r) for r in CURVE])
    energies = energies - zero
    far = FAR[0] - 1e-9 < CURVE
    reference, slopes = law(CURVE[far])
    error = energies[far] - reference
    record = {
        "data_energy_mev": rms(difference - zero),
        "data_force_mev_per_angstrom": 1e3 * error_of(forces)["rmse"],
        "far_energy_mev": rms(error),
        "far_energy_shifted_mev": rms(error - error.mean()),
        "far_net_force_mev_per_angstrom": rms(net[far] @ pair.axis + slopes),
    }
    if charges is not None:
        values = gauge(charges, [last]) * np.reshape(charges[-1], (len(last), -1))
        sums = [values[w].sum(axis=0) for w in fragments(last)]
        record["fragment_charges"] = [one.tolist() for one in sums]
        record["product_of_fragment_charges"] = float(sums[0] @ sums[1])
    return record, energies


def draw(path, pictures: dict) -> None:
    """Energies against distance, relative to the far law at 13 angstrom."""
    figure, axes = new_figure(columns=3, rows=-(-len(pictures) // 3), width=3.0, height=2.8)
    styles = {
        "published, charges": (ACCENT, "-"),
        "published, short range": (SECOND, "-"),
        "trained here, charges": (ACCENT, "--"),
        "trained here, total_free": (ACCENT, ":"),
    }
    for axis, (name, (pair, law, curves)) in zip(axes, pictures.items(), strict=False):
        zero = law(np.array([FAR[0]]))[0][0]
        shown = CURVE >= 7.0
        axis.axvspan(FAR[0], FAR[-1], color="#eeeeee", zorder=0)
        axis.plot(CURVE[shown], 1e3 * (law(CURVE)[0] - zero)[shown], color=INK, linewidth=1.0)
        for label, (color, dash) in styles.items():
            if label not in curves:
                continue
            values = curves[label]
            axis.plot(
                CURVE[shown], 1e3 * (values - zero)[shown], dash, color=color, label=label
            )
        kept = pair.distances >= 7.0
        axis.plot(
            pair.distances[kept], 1e3 * (pair.energies - zero)[kept], "o", color=INK,
            markersize=3.5, label="DFT",
        )  # fmt: skip
        axis.set(title=name, xlabel="distance of centres (Å)")
    for axis in axes[len(pictures) :]:
        axis.set_visible(False)
    for axis in axes[::3]:
        axis.set_ylabel("energy (meV)")
    axes[0].legend(frameon=False, fontsize=7)
    save_figure(figure, path)


def training(name: str, variant: str) -> dict:
    """Settings of a training on the ten frames, which also choose the best epoch."""
    file = str(data_set(f"lode-charged-dimers/{name}.xyz"))
    return VARIANTS[variant] | {"data": {"train": file, "valid": file}}


def main(chosen):
    pairs = ("CP",) if chosen.smoke else chosen.pairs
    results, pictures = {}, {}
    for name in pairs:
        pair = line(name)
        spline = potential_of_charge(pair)
        law = far_law(pair, spline, TERMS[name], np.arange(FIRST, len(pair.frames)))
        without_last = far_law(pair, spline, TERMS[name], np.arange(FIRST, 8))
        record = {
            "terms": what_it_takes(pair, spline, TERMS[name]),
            "law_uncertainty_mev": rms(law(FAR)[0] - without_last(FAR)[0]),
            "dft_net_force_less_slope_mev_per_angstrom": forces_against_energies(pair, law),
        }
        curves = {}
        if name in PUBLISHED:
            for label, kind in (("charges", "les"), ("short range", "sr")):
                key = f"published, {label}"
                model = imported(f"seeds/dimer_{name}_{kind}.pth")
                record[key], curves[key] = score(model, pair, law)
        if not chosen.only_published:
            for variant in variants(name, chosen.smoke):
                key = f"trained here, {variant}"
                folder = chosen.out / f"{name}_{variant}"
                values = training(name, variant) | {"seed": chosen.seed}
                model = trained(values, folder, chosen.smoke)
                record[key], curves[key] = score(model, pair, law)
                record[key]["training_seconds"] = training_seconds(folder)
        for key in curves:
            product = record[key].get("product_of_fragment_charges")
            if product is not None:
                record[key]["false_product"] = false_product(pair, spline, TERMS[name], product)
        results[name], pictures[name] = record, (pair, law, curves)
        print(name, record, flush=True)
    draw(chosen.out / "far_dimers.png", pictures)
    write_results(chosen.out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/far_dimers")
    parser.add_argument("--only-published", action="store_true", help="train nothing")
    parser.add_argument("--pairs", nargs="+", default=list(TERMS), choices=TERMS)
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    run(main, parser)
