"""Sets of latent moments, the systems they are tried on, and the errors of such models."""

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from common import born_errors, error_of, to_atoms

from jles.cli.evaluate import nearest_branch
from jles.data.frames import read_frames
from jles.data.sets import data_set
from jles.data.splits import split_frames
from jles.electrostatics.multipoles import traceless
from jles.models.config import ScreeningConfig
from jles.observables.polarizability import polarizability_of
from jles.observables.polarization import polarization_change
from jles.pictures import born_charge_picture
from jles.predict.model import Model, load_model
from jles.units import EPSILON0

RUNGS = {
    "q": {},
    "q (flow)": {"charges": {"kind": "flow"}},
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

# Files, cutoff, epochs, held-out fraction, electronic dielectric constant.
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
    "Au2-MgO": (("4g-hdnnp-n2p2/AlAuMgO_4G.xyz",), 5.0, 400, 0.3, 1.0),
}


def settings(system: str, rung: str, longer: int = 1) -> dict:
    """The training settings of one model, with `longer` times the usual epochs."""
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
        "loss": {"energy": {0: 1.0, round(0.9 * epochs): 10.0}, "forces": 1.0},
        "optimizer": {"learning_rate": 1e-2},
        "validate_every": 10,
        "checkpoint_every": 10,
    }  # fmt: skip


MOST_FRAMES = 12
"""Most test frames of a system, since Born charges of large cells are expensive."""


def test_frames(system: str):
    """Frames held out of the training, those with Born charges first."""
    if system == "dipeptides":
        return read_frames(data_set("dipeptides-spice/val_bec.xyz"))
    files, _, _, held_out, _ = SYSTEMS[system]
    frames = [frame for f in files for frame in read_frames(data_set(f))]
    kept = split_frames(frames, held_out, 0)[1]
    most = None if system == "SPICE" else MOST_FRAMES
    return sorted(kept, key=lambda frame: "born_charges" not in frame.labels)[:most]


def known_permittivity(system: str, frames) -> float | None:
    """Electronic dielectric constant of a crystal, from the literature or from the labels."""
    given = SYSTEMS[system][-1]
    if given is not None:
        return given
    if system in ("MgO", "NaCl"):
        born = json.loads(data_set(f"ionic-crystals-phonopy/{system}_born.json").read_text())
        return float(np.trace(born["dielectric_constant"]) / 3.0)
    volumes = [abs(np.linalg.det(frame.cell)) for frame in frames]
    traces = [np.trace(frame.labels["polarizability"]) / 3.0 for frame in frames]
    return 1.0 + float(np.mean(np.array(traces) / np.array(volumes))) / EPSILON0


POSITIVE = {
    "water": "H",
    "BaTiO3": "Ti",
    "SiO2": "Si",
    "MgO": "Mg",
    "NaCl": "Na",
    "Au2-MgO": "Mg",
}


def physical(place: Path, system: str, frames) -> Model:
    """A trained model; in crystals its moments are converted to physical ones."""
    if not frames[0].pbc.any():
        return load_model(place)
    screening = ScreeningConfig(known_permittivity(system, frames), POSITIVE[system])
    return load_model(place, screening=screening)


def score(place: Path, system: str, most: int | None = None) -> dict:
    """Errors of one model: energies (meV an atom, a common shift taken out), forces
    (meV/angstrom), Born charges (e), dipoles, polarizability."""
    frames = test_frames(system)[:most]
    model = physical(place, system, frames)
    crystal = bool(frames[0].pbc.any())
    charges = model.config.charges is not None
    alpha = model.config.polarizability is not None
    labelled = charges and any("born_charges" in f.labels for f in frames)
    want = ["energy", "forces"]
    want += ["polarization"] if charges else []
    want += ["quadrupole"] if charges and not crystal else []
    want += ["born_charges"] if labelled else []
    want += ["polarizability"] if alpha else []
    outs = model.predict([to_atoms(frame) for frame in frames], want)
    pairs = list(zip(frames, outs, strict=True))
    forces = [(f.labels["forces"], o.forces) for f, o in pairs]
    shifts = [(o.energy - f.labels["energy"]) / len(f.numbers) for f, o in pairs]
    record = {
        "force_rmse": 1e3 * error_of(forces)["rmse"],
        "energy_rmse": 1e3 * float(np.std(shifts)),
        "frames": len(frames),
    }
    if not charges:
        return record
    sign = 1.0
    if not crystal:
        sign = overall_sign(pairs)
        record |= moment_errors(pairs, sign)
    elif all("dipole" in f.labels for f in frames):
        record["polarization_change"] = error_of(polarization_changes(model, frames))
    if "born_charges" in want:
        record |= score_born_charges(pairs, sign, place.parent / f"born_{place.name}.png")
    if alpha and "polarizability" in frames[0].labels:
        record["polarizability"] = error_of(
            (f.labels["polarizability"], polarizability_of(o.epsilon_infinity, f.cell))
            for f, o in pairs
        )
    if alpha and crystal:
        record["latent_epsilon"] = latent_epsilon(model, pairs)
    if system in ("MgO", "NaCl"):
        record["born_charges"] = rock_salt(model, system)
    return record


def overall_sign(pairs) -> float:
    """The sign of the moments of molecules, which energies and forces do not determine."""
    return float(np.sign(sum(float(f.labels["dipole"] @ o.polarization) for f, o in pairs)))


def moment_errors(pairs, sign: float) -> dict:
    """Errors of dipoles and, where they are labels, traceless quadrupoles of molecules."""
    dipoles = [(f.labels["dipole"], sign * o.polarization) for f, o in pairs]
    # Quadrupoles of the data are second moments with their trace.
    quadrupoles = [
        (traceless(f.labels["quadrupole"]), sign * o.quadrupole)
        for f, o in pairs
        if "quadrupole" in f.labels
    ]
    record = {"dipole": error_of(dipoles)}
    return record | ({"quadrupole": error_of(quadrupoles)} if quadrupoles else {})


def score_born_charges(pairs, sign: float, picture: Path) -> dict:
    """Errors of Born charges and of their sum rule, with a parity plot."""
    labelled = [(f, o) for f, o in pairs if "born_charges" in f.labels]
    numbers = np.concatenate([f.numbers for f, _ in labelled])
    reference = np.concatenate([f.labels["born_charges"] for f, _ in labelled])
    predicted = sign * np.concatenate([o.born_charges for _, o in labelled])
    born_charge_picture(picture, numbers, reference, predicted)
    sums = [np.asarray(o.acoustic_sum) / len(f.numbers) for f, o in labelled]
    return {
        "born_charges": born_errors(numbers, reference, predicted),
        "acoustic_sum_per_atom": float(np.sqrt(np.mean(np.square(sums)))),
    }


def latent_epsilon(model: Model, pairs) -> float:
    """Dielectric constant of the latent induced dipoles, before conversion to physical ones.

    The converted one is the given constant; the latent one is what the model has learnt.
    """
    found = []
    for frame, out in pairs:
        structure = model.structure(to_atoms(frame))
        factor = float(model.potential.factor_fn(model.params, structure) ** 2)
        latent = np.trace(out.polarizability / factor) / 3.0
        found.append(latent / abs(np.linalg.det(frame.cell)))
    return 1.0 + float(np.mean(found) / EPSILON0)


def polarization_changes(model: Model, frames) -> list:
    """Changes from the first frame to others of its cell: labels (nearest branch), ours."""

    def born(positions):
        atoms = Atoms(first.numbers, positions, cell=first.cell, pbc=True)
        return model.predict(atoms, ("born_charges",)).born_charges

    first, *others = frames
    pairs = []
    for frame in (f for f in others if np.allclose(f.cell, first.cell, atol=1e-6)):
        moved, _ = find_mic(frame.positions - first.positions, first.cell)
        # A displacement of the whole crystal does not polarize it.
        moved -= moved.mean(axis=0)
        change = polarization_change(born, first.positions, first.positions + moved, points=3)
        label = frame.labels["dipole"] - first.labels["dipole"]
        pairs.append(nearest_branch(np.stack([label, change]), frame.cell, frame.pbc))
    return pairs


def rock_salt(model: Model, system: str) -> dict:
    """Born charge of the cation in the ideal crystal, ours and that of DFT."""
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
