"""Do energies and forces of small molecules of nine elements teach Born charges?

Run:     python experiments/spice.py --out results/spice
Needs:   spice-bec, dipeptides-spice (JLES_DATA); four and a half hours of one core.
Writes:  train.extxyz, valid.extxyz, MODEL/, results.json, born_MODEL_MODE_SUBSET.png in --out.
Expect:  R2 of Born charges of at least 0.8 on held-out molecules of all seven subsets (aim).

An earlier training on five of the subsets alone did not learn them (electrical_response.py).
This one adds 495 dipeptides. Their energies are counted from other energies of the elements;
they are moved to those of spice-bec by linear fits to the dipeptides of both sets.
"""

from types import SimpleNamespace

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from common import error_of, options, run, to_atoms, trained, training_seconds, write_results
from ladder import moment_errors, overall_sign, score_born_charges

from jles.data.frames import frame_from_atoms
from jles.data.offsets import fit_element_energies, offset_energy
from jles.data.sets import data_set
from jles.data.splits import split_places

SUBSETS = (
    "des370k_dimers", "des370k_monomers", "dipeptides", "pubchem", "qmugs",
    "solvated_amino_acids", "water",
)  # fmt: skip
ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br")
TEST, VALID = 0.15, 0.05
SEEN = 10
"""Training frames of every subset that are scored, too."""

MACE = {
    "kind": "mace", "cutoff": 4.5, "num_interactions": 2, "hidden_irreps": "64x0e",
    "max_ell": 2, "correlation": 2, "avg_num_neighbors": 17.0,
}  # fmt: skip
PAINN = {
    "kind": "painn", "cutoff": 4.5, "n_atom_basis": 64, "n_interactions": 3, "degree": 1,
    "avg_num_neighbors": 17.0,
}  # fmt: skip
NEAR = PAINN | {"cutoff": 3.5, "n_interactions": 2, "avg_num_neighbors": 10.0}
MODELS = {
    "mace": {"backbone": MACE | {"last_irreps": "64x0e"}},
    "mace_dipoles": {"backbone": MACE | {"last_irreps": "64x0e + 64x1o"}, "dipoles": {}},
    "painn_dipoles": {"backbone": PAINN, "dipoles": {}},
    "painn": {"backbone": PAINN},
    "painn_degree_2": {"backbone": PAINN | {"degree": 2}, "dipoles": {}},
    "painn_moments": {
        "backbone": PAINN | {"degree": 2}, "dipoles": {}, "quadrupoles": {},
        "polarizability": {},
    },
    "near_dipoles": {"backbone": NEAR, "dipoles": {}},
    "near": {"backbone": NEAR},
}  # fmt: skip
"""Settings in which the models differ."""
AVERAGED = ("mace", "mace_dipoles", "painn_dipoles")


def settings(out, name: str) -> dict:
    """Training settings; MACE and PaiNN were the best of the backbones on dipeptides."""
    epochs = 35 if MODELS[name]["backbone"]["kind"] == "mace" else 45
    return {
        "data": {"train": str(out / "train.extxyz"), "valid": str(out / "valid.extxyz")},
        "model": {
            "elements": list(ELEMENTS),
            "charges": {"total": "shift"},
            "electrostatics": {"sigma": 1.0, "k_max": 3.14159},
            **MODELS[name],
        },
        "epochs": epochs,
        "batch_size": 1,
        "loss": {
            "energy": {0: 3.0, int(0.92 * epochs): 10.0}, "forces": 1.0,
            "huber": {"energy": 0.02, "forces": 0.1},
        },
        "optimizer": {
            "name": "muon", "learning_rate": 1.0e-2, "warmup_steps": 200, "clip_update": 1.0,
            "ema": 0.999,
        },
        "validate_every": 5,
        "checkpoint_every": 5,
    }  # fmt: skip


def read(name: str) -> list:
    """The structures of a file."""
    return ase.io.read(data_set(name), ":")


def moved_energies(molecules: list, like: list) -> list:
    """The molecules with energies whose part linear in the elements is that of others."""
    numbers = sorted({int(z) for atoms in molecules + like for z in atoms.numbers})
    own, other = (
        fit_element_energies([frame_from_atoms(atoms) for atoms in chosen], numbers)
        for chosen in (molecules, like)
    )
    moved = []
    for atoms in molecules:
        forces, energy = atoms.get_forces(), atoms.get_potential_energy()
        energy += offset_energy(atoms.numbers, other) - offset_energy(atoms.numbers, own)
        moved.append(atoms.copy())
        moved[-1].calc = SinglePointCalculator(moved[-1], energy=energy, forces=forces)
    return moved


def write_frames(out) -> tuple[dict[str, list], dict[str, list]]:
    """Writes training and validation frames.

    Returns:
        The test frames of each subset, and the first training frames of each.
    """
    training, validation, test, seen = [], [], {}, {}
    for name in SUBSETS:
        molecules = read(f"spice-bec/{name}.xyz")
        rest, chosen = split_places(len(molecules), TEST, seed=0)
        test[name] = [molecules[n] for n in chosen]
        kept, valid = split_places(len(rest), VALID, seed=0)
        seen[name] = [molecules[rest[n]] for n in kept[:SEEN]]
        training += [molecules[rest[n]] for n in kept]
        validation += [molecules[rest[n]] for n in valid]
    more = read("dipeptides-spice/train.xyz")
    training += moved_energies(more, read("spice-bec/dipeptides.xyz"))
    out.mkdir(parents=True, exist_ok=True)
    for name, frames in (("train", training), ("valid", validation)):
        ase.io.write(out / f"{name}.extxyz", frames, format="extxyz")
    return test, seen


def evaluate(model, frames: list, born_mode: str) -> list:
    """Pairs of held-out frames and their predictions."""
    want = ("energy", "forces", "polarization", "born_charges")
    atoms = [to_atoms(frame) for frame in frames]
    return list(zip(frames, model.predict(atoms, want, born_mode=born_mode), strict=True))


def scores(pairs, sign: float, out) -> dict:
    """Errors of forces (meV/angstrom), energies (meV/atom), dipoles and Born charges (e)."""
    energies = [1e3 * (o.energy - f.labels["energy"]) / len(f.numbers) for f, o in pairs]
    forces = error_of([(f.labels["forces"], o.forces) for f, o in pairs])
    return {
        "frames": len(pairs),
        "energy_rmse": float(np.sqrt(np.mean(np.square(energies)))),
        "force_rmse": 1e3 * forces["rmse"],
        **moment_errors(pairs, sign),
        **score_born_charges(pairs, sign, out),
    }


def averaged(all_pairs: list) -> list:
    """Pairs of frames and the average of the predictions of several models.

    `jles.predict.committee` needs models of one architecture; these differ.
    """
    keys = ("energy", "forces", "polarization", "born_charges", "acoustic_sum")
    signs = [overall_sign(pairs) for pairs in all_pairs]
    result = []
    for (frame, first), *others in zip(*all_pairs, strict=True):
        outs = [first, *(out for _, out in others)]
        means = {}
        for key in keys:
            weights = [1.0] * len(outs) if key in keys[:2] else signs
            values = [w * getattr(o, key) for w, o in zip(weights, outs, strict=True)]
            means[key] = np.mean(values, axis=0)
        result.append((frame, SimpleNamespace(**means)))
    return result


def study(models: dict, test, seen, out, born_mode: str) -> dict:
    """Errors of every model and of an average: by subset, of all test frames together, and of
    some training frames.

    Args:
        models: by name.
        test: held-out molecules of each subset.
        seen: training molecules of each subset.
        out: folder of the pictures.
        born_mode: "exact" Born charges are derivatives of the dipole; "local" ones leave out
            the uniform shift that makes the charges sum to zero.
    """
    sets = test | {"training_frames": [one for molecules in seen.values() for one in molecules]}
    frames = [frame_from_atoms(atoms) for molecules in sets.values() for atoms in molecules]
    ends = np.cumsum([len(molecules) for molecules in sets.values()])
    places = {
        name: slice(end - len(sets[name]), end) for name, end in zip(sets, ends, strict=True)
    }
    places["all"] = slice(ends[-2])
    found = {name: evaluate(model, frames, born_mode) for name, model in models.items()}
    cases = {name: averaged([pairs]) for name, pairs in found.items()}
    cases["average"] = averaged([found[name] for name in AVERAGED])
    return {
        case: {
            name: scores(pairs[place], 1.0, out / f"born_{case}_{born_mode}_{name}.png")
            for name, place in places.items()
        }
        for case, pairs in cases.items()
    }


def main(chosen):
    out = chosen.out
    test, seen = write_frames(out)
    models = {name: trained(settings(out, name), out / name, chosen.smoke) for name in MODELS}
    if chosen.smoke:
        test, seen = ({name: one[:1] for name, one in sets.items()} for sets in (test, seen))
    results = {mode: study(models, test, seen, out, mode) for mode in ("exact", "local")}
    results["training_seconds"] = {name: training_seconds(out / name) for name in models}
    write_results(out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/spice"))
