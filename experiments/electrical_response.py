"""Do energies and forces alone teach Born charges and polarizabilities, and does the ladder pay?

Run:     python experiments/electrical_response.py --out results/electrical_response
Needs:   water-rpbe-d3, batio3-allegro-pol, sio2-allegro-pol, dipeptides-spice, spice-bec,
         ionic-crystals-phonopy (JLES_DATA); one core, about five minutes a model and system.
Writes:  SYSTEM/RUNG/ (models), results.json, table.md, and pictures in --out.
Expect:  water, Born charges: 0.022 e RMSE with charges, dipoles and induced dipoles
         (arXiv 2605.05746). Dipeptides, charges alone: dipole R2 0.987, quadrupole 0.910, Born
         charges 0.943 and 0.085 e (arXiv 2507.14302). Born charges and polarizabilities are never
         trained on.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from common import error_of, trained, training_seconds, write_results

from jles.cli.evaluate import nearest_branch, polarizability_of
from jles.data.frames import read_frames
from jles.data.sets import data_set
from jles.data.splits import split_frames
from jles.electrostatics.multipoles import traceless
from jles.models.config import ScreeningConfig
from jles.observables.polarization import polarization_change
from jles.pictures import ACCENT, SECOND, born_charge_picture, new_figure, save_figure
from jles.predict.model import Model, load_model
from jles.units import EPSILON0

RUNGS = {
    "q": {},
    "q (flow)": {"charges": {"method": "flow"}},
    "q+u": {"dipoles": {}},
    "q+u+Q": {"dipoles": {}, "quadrupoles": {}},
    "q+alpha": {"polarizability": {}},
    "q+kappa": {"charge_softness": {}},
    "q+u+alpha": {"dipoles": {}, "polarizability": {}},
    "q+u+Q+kappa+alpha": {
        "dipoles": {},
        "quadrupoles": {},
        "charge_softness": {},
        "polarizability": {"kind": "tensor"},
    },
}

# Files, cutoff, epochs, held-out fraction, dielectric constant of the electrons (section 7).
SYSTEMS = {
    "water": (("water-rpbe-d3/ef.xyz", "water-rpbe-d3/ef_bec.xyz"), 4.5, 120, 0.2, 1.78),
    "BaTiO3": (("batio3-allegro-pol/BaTiO3.xyz",), 5.0, 250, 0.2, None),
    "SiO2": (("sio2-allegro-pol/SiO2.xyz",), 5.0, 150, 0.2, None),
    "dipeptides": (("dipeptides-spice/train.xyz",), 4.5, 60, 0.1, 1.0),
    "SPICE": (
        tuple(
            f"spice-bec/{name}.xyz"
            for name in ("des370k_dimers", "des370k_monomers", "dipeptides", "pubchem", "water")
        ),
        4.5,
        80,
        0.15,
        1.0,
    ),
    "MgO": (("ionic-crystals-phonopy/MgO.xyz",), 5.0, 150, 0.1, None),
    "NaCl": (("ionic-crystals-phonopy/NaCl.xyz",), 5.5, 150, 0.1, None),
}


def settings(system: str, rung: str, longer: int = 1) -> dict:
    """The training file of one model, `longer` times as long as usual."""
    files, cutoff, epochs, held_out, _ = SYSTEMS[system]
    epochs *= longer
    return {
        "data": {"train": [str(data_set(f)) for f in files], "valid_fraction": held_out},
        "model": {
            "backbone": {
                "cutoff": cutoff, "l_max": 3, "body_order": 3, "n_rbf": 6, "n_radial_basis": 8,
            },
            "electrostatics": {"sigma": 1.0, "k_max": 3.14},
            **RUNGS[rung],
        },
        "epochs": epochs,
        "batch_size": 1,
        "loss": {"energy": {0: 1.0, int(0.6 * epochs): 30.0}, "forces": 1.0},
        "optimizer": {"learning_rate": 1e-2},
        "validate_every": 10,
        "checkpoint_every": 10,
    }  # fmt: skip


MOST_FRAMES = 12
"""Frames that a model is tested on: Born charges of large cells take their time."""


def test_frames(system: str):
    """Frames that were not trained on, those with the most labels first."""
    if system == "dipeptides":
        return read_frames(data_set("dipeptides-spice/val_bec.xyz"))
    files, _, _, held_out, _ = SYSTEMS[system]
    frames = [frame for f in files for frame in read_frames(data_set(f))]
    kept = split_frames(frames, held_out, 0)[1]
    most = None if system == "SPICE" else MOST_FRAMES
    return sorted(kept, key=lambda frame: "born_charges" not in frame.labels)[:most]


def atoms_of(frame) -> Atoms:
    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


def known_permittivity(system: str, frames) -> float | None:
    """Electronic dielectric constant of a crystal: of the literature, or of the labels."""
    given = SYSTEMS[system][-1]
    if given is not None:
        return given
    if system in ("MgO", "NaCl"):
        born = json.loads(data_set(f"ionic-crystals-phonopy/{system}_born.json").read_text())
        return float(np.trace(born["dielectric_constant"]) / 3.0)
    volumes = [abs(np.linalg.det(frame.cell)) for frame in frames]
    traces = [np.trace(frame.labels["polarizability"]) / 3.0 for frame in frames]
    return 1.0 + float(np.mean(np.array(traces) / np.array(volumes))) / EPSILON0


POSITIVE = {"water": "H", "BaTiO3": "Ti", "SiO2": "Si", "MgO": "Mg", "NaCl": "Na"}


def physical(place: Path, system: str, frames) -> Model:
    """A trained model whose moments are read physically in crystals."""
    if not frames[0].pbc.any():
        return load_model(place)
    screening = ScreeningConfig(known_permittivity(system, frames), POSITIVE[system])
    return load_model(place, screening=screening)


def score(place: Path, system: str) -> dict:
    """Errors of one model: forces (meV/angstrom), Born charges (e), dipoles, polarizability."""
    frames = test_frames(system)
    model = physical(place, system, frames)
    crystal = bool(frames[0].pbc.any())
    want = ["forces", "polarization"]
    want += [] if crystal else ["quadrupole"]
    labelled = [f for f in frames if "born_charges" in f.labels]
    if labelled:
        want.append("born_charges")
    alpha = model.config.polarizability is not None
    want += ["polarizability"] if alpha else []
    outs = model.predict([atoms_of(frame) for frame in frames], want)
    forces = [(f.labels["forces"], o.forces) for f, o in zip(frames, outs, strict=True)]
    record = {"force_rmse": 1e3 * error_of(forces)["rmse"], "frames": len(frames)}
    sign = 1.0
    if not crystal:
        dipoles = [
            (f.labels["dipole"], o.polarization) for f, o in zip(frames, outs, strict=True)
        ]
        sign = np.sign(sum(float(a @ b) for a, b in dipoles))
        record["dipole"] = error_of([(a, sign * b) for a, b in dipoles])
        moments = [
            # The data's quadrupoles are second moments, trace and all.
            (traceless(f.labels["quadrupole"]), sign * o.quadrupole)
            for f, o in zip(frames, outs, strict=True)
            if "quadrupole" in f.labels
        ]
        if moments:
            record["quadrupole"] = error_of(moments)
    elif all("dipole" in f.labels for f in frames):
        record["polarization_change"] = error_of(polarization_changes(model, frames))
    if labelled:
        born = [
            (f.numbers, f.labels["born_charges"], sign * o.born_charges, o.acoustic_sum)
            for f, o in zip(frames, outs, strict=True)
            if "born_charges" in f.labels
        ]
        record["born_charges"] = born_errors(
            *(np.concatenate(part) for part in list(zip(*born, strict=True))[:3])
        )
        record["acoustic_sum_per_atom"] = float(
            np.sqrt(np.mean([(b[3] / len(b[0])) ** 2 for b in born]))
        )
        born_charge_picture(
            place.parent / f"born_{place.name}.png",
            *(np.concatenate(part) for part in list(zip(*born, strict=True))[:3]),
        )
    reference = [f.labels.get("polarizability") for f in frames]
    if alpha and reference[0] is not None:
        record["polarizability"] = error_of(
            [
                (label, polarizability_of(o.epsilon_infinity, frame.cell))
                for label, o, frame in zip(reference, outs, frames, strict=True)
            ]
        )
    if alpha and crystal:
        # What physical scaling makes of it is the given constant; the latent one is the finding.
        latent = [
            o.polarizability / float(latent_factor(model, a) ** 2)
            for o, a in zip(outs, map(atoms_of, frames), strict=True)
        ]
        volume = [abs(np.linalg.det(f.cell)) for f in frames]
        record["latent_epsilon"] = 1.0 + float(
            np.mean([np.trace(a) / 3.0 / v for a, v in zip(latent, volume, strict=True)])
            / EPSILON0
        )
    if system in ("MgO", "NaCl"):
        record["born_charges"] = rock_salt(model, system)
    return record


def polarization_changes(model: Model, frames) -> list:
    """From the first frame to every other of the same cell: labels on the nearest branch, ours."""

    def born(positions):
        atoms = Atoms(first.numbers, positions, cell=first.cell, pbc=True)
        return model.predict(atoms, ("born_charges",)).born_charges

    first, *others = frames
    pairs = []
    for frame in others:
        if not np.allclose(frame.cell, first.cell, atol=1e-6):
            continue
        moved, _ = find_mic(frame.positions - first.positions, first.cell)
        # A crystal as a whole may have moved; that is no polarization of it.
        moved -= moved.mean(axis=0)
        change = polarization_change(born, first.positions, first.positions + moved, points=3)
        label = frame.labels["dipole"] - first.labels["dipole"]
        pairs.append(nearest_branch(np.stack([label, change]), frame.cell, frame.pbc))
    return pairs


def latent_factor(model: Model, atoms: Atoms):
    """From latent to physical moments, as the model has it."""
    return model.potential.factor_fn(model.params, model.structure(atoms))


def rock_salt(model: Model, system: str) -> dict:
    """Born charge of the cation in the ideal crystal, beside that of DFT."""
    born = json.loads(data_set(f"ionic-crystals-phonopy/{system}_born.json").read_text())
    cell = np.array(born["primitive_lattice"])
    symbols = born["primitive_symbols"]
    atoms = Atoms(symbols, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=cell, pbc=True)
    exact = model.predict(atoms, ("born_charges",)).born_charges
    published = model.predict(atoms, ("born_charges",), born_mode="published").born_charges
    big = model.predict(
        atoms * (3, 3, 3), ("born_charges",), born_mode="published"
    ).born_charges
    reference = np.array(born["born_effective_charge"])
    return {
        "rmse": float(np.sqrt(np.mean((exact - reference) ** 2))),
        "cation": float(exact[0, 0, 0]),
        "cation_published_formula": float(published[0, 0, 0]),
        "cation_published_formula_3x3x3": float(big[0, 0, 0]),
        "cation_dft": float(reference[0, 0, 0]),
    }


def born_errors(numbers, reference, predicted) -> dict:
    """All, diagonal, off-diagonal, by element; and the factor that would fit best."""
    from ase.data import chemical_symbols

    diagonal = np.eye(3, dtype=bool)
    record = error_of([(reference, predicted)])
    record["diagonal"] = error_of([(reference[:, diagonal], predicted[:, diagonal])])
    record["off_diagonal"] = error_of([(reference[:, ~diagonal], predicted[:, ~diagonal])])
    for z in np.unique(numbers):
        chosen = numbers == z
        record[chemical_symbols[z]] = error_of([(reference[chosen], predicted[chosen])])
    record["best_factor"] = float(np.vdot(reference, predicted) / np.vdot(predicted, predicted))
    return record


def scores(out: Path) -> dict:
    """Of every model in a folder: by system, then by rung."""
    found = {}
    for system in SYSTEMS:
        paths = (out / system).glob("*/score.json")
        done = {path.parent.name: path for path in paths if _rung(path.parent.name) >= 0}
        names = sorted(done, key=lambda name: (_rung(name), name))
        found[system] = {name: json.loads(done[name].read_text()) for name in names}
    return {system: rungs for system, rungs in found.items() if rungs}


def _rung(name: str) -> int:
    """Which rung a model is of, whatever the length of its training; -1 for none."""
    ours = (n for n, rung in enumerate(RUNGS) if name == rung or name.startswith(f"{rung} ("))
    return max(ours, default=-1)


def table(results: dict) -> str:
    """Rung by system as Markdown."""
    lines = [
        "| system | rung | force RMSE (meV/Å) | Born charges RMSE (e) | R² | best factor | other |",
        "|---|---|---|---|---|---|---|",
    ]
    for system, rungs in results.items():
        for rung, row in rungs.items():
            born = row.get("born_charges", {})
            other = [
                f"{name} R² {row[name]['r2']:.3f}"
                for name in ("dipole", "quadrupole", "polarization_change")
                if name in row
            ]
            if "latent_epsilon" in row:
                other.append(f"latent ε {row['latent_epsilon']:.3f}")
            if "polarizability" in row:
                other.append(f"polarizability RMSE {row['polarizability']['rmse']:.3g} e Å²/V")
            if "cation" in born:
                other.append(f"Z* {born['cation']:.3f} (DFT {born['cation_dft']:.3f})")
            numbers = [f"{row['force_rmse']:.1f}"]
            numbers += [
                f"{born[key]:.3f}" if key in born else ""
                for key in ("rmse", "r2", "best_factor")
            ]
            lines.append(f"| {system} | {rung} | {' | '.join(numbers)} | {'; '.join(other)} |")
    return "\n".join(lines) + "\n"


def ladder_picture(path: Path, results: dict) -> None:
    """Force and Born-charge errors, relative to charges alone, rung by rung."""
    figure, axes = new_figure(columns=2, width=5.2, height=3.8)
    panels = (
        ("force RMSE / that of q", lambda r: r["force_rmse"]),
        ("Born charge RMSE / that of q", lambda r: r["born_charges"]["rmse"]),
    )
    markers = "osD^vP*"
    for axis, (label, value) in zip(axes, panels, strict=True):
        for number, (system, rungs) in enumerate(results.items()):
            if "q" not in rungs:
                continue
            names = [name for name in RUNGS if name in rungs]
            heights = [value(rungs[name]) / value(rungs["q"]) for name in names]
            axis.plot(
                [list(RUNGS).index(name) for name in names],
                heights,
                markers[number] + "-",
                color=[ACCENT, SECOND, "#2e7d46", "#7a4fa3", "#b0902c", "#3a8f9e", "#222222"][
                    number
                ],
                linewidth=0.8,
                markersize=5,
                label=system,
            )
        axis.axhline(1.0, color="#222222", linewidth=0.6)
        axis.set_xticks(range(len(RUNGS)), list(RUNGS), rotation=30, ha="right", fontsize=8)
        axis.set_ylabel(label)
        axis.set_yscale("log")
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/electrical_response"))
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=RUNGS)
    parser.add_argument("--longer", type=int, default=1, help="times as many epochs")
    parser.add_argument("--only-trained", action="store_true", help="train nothing more")
    chosen = parser.parse_args()
    for rung in chosen.rungs:
        for system in chosen.systems:
            name = rung if chosen.longer == 1 else f"{rung} ({chosen.longer} x)"
            place = chosen.out / system / name
            if chosen.only_trained and not (place / "config.yaml").is_file():
                continue
            trained(settings(system, rung, chosen.longer), place)
            done = place / "score.json"
            if not done.is_file():
                record = score(place, system) | {"seconds": training_seconds(place)}
                done.write_text(json.dumps(record))
    results = scores(chosen.out)
    write_results(chosen.out, results)
    (chosen.out / "table.md").write_text(table(results), encoding="utf-8")
    ladder_picture(chosen.out / "ladder.png", results)


if __name__ == "__main__":
    main()
