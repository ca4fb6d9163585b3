"""Do energies and forces give the Born charges and the LO-TO splitting of ionic crystals?

Run:     python experiments/crystals.py --out results/crystals [--crystals NaCl ...]
Needs:   ionic-crystals-phonopy (JLES_DATA), phonopy and symfc; one core, two to ten minutes a
         crystal.
Writes:  CRYSTAL/ (models), results.json and crystals.png in --out.
Expect:  Born charges within 5 % of those of DFT (aim), and the optical frequencies at Gamma of
         force constants fitted to the DFT forces of the quietest third of the frames.

The models have charges alone, and a cutoff below half of the smallest cell: beyond that, an
atom sees every other atom, and forces do not determine the long range (lo_to.py). In KCl, whose
frames are far from harmonic, the charges of the elements start at the formal ones divided by
sqrt(epsilon_infinity); without that the Born charges are 5 to 10 % too large. The crystal
is the average of the frames, in which all atoms are displaced at random. The sign that the
energy leaves open is chosen so that the Born charge of the cation is positive: the charges of
the perfect crystal can be nearly zero, and then their sign says nothing. Latent charges become
physical ones by epsilon_infinity of the data, and their average over the atoms is subtracted,
so that they obey the acoustic sum rule. phonopy finds the frequencies at Gamma by finite
displacements in a supercell and adds the term of the macroscopic field.
"""

import json
import math
from functools import cache
from typing import NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from common import error_of, options, run, trained, training_seconds, write_results
from lo_to import (
    THZ_TO_WAVENUMBER,
    as_atoms,
    dft_phonon,
    model_phonon,
    of_smallest_cell,
)
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure
from jles.predict.model import load_model
from jles.predict.phonopy_born import nac_params


class Crystal(NamedTuple):
    """What differs between the crystals.

    Attributes:
        cation: its symbol; its charges are positive.
        cells: conventional cells along each axis of the frames.
        centring: of the lattice, as phonopy names it.
        cutoff: angstrom, below half of the smallest cell.
        epochs: of the training.
        formal: charge of the cation (e) that the training starts with, before it is divided by
            sqrt(epsilon_infinity); None: it starts without charges of the elements.
    """

    cation: str
    cells: tuple[int, int, int]
    centring: str
    cutoff: float
    epochs: int
    formal: float | None = None


CRYSTALS = {
    "MgO": Crystal("Mg", (2, 2, 2), "F", 4.0, 150),
    "NaCl": Crystal("Na", (2, 2, 2), "F", 4.6, 150),
    "KCl": Crystal("K", (2, 2, 2), "F", 5.2, 300, formal=1.0),
    "AlN": Crystal("Al", (4, 4, 2), "P", 4.4, 60),
}
DIRECTIONS = {"x": (1.0, 0.0, 0.0), "z": (0.0, 0.0, 1.0)}


def settings(name: str) -> dict:
    """Training settings of one crystal."""
    crystal, charges = CRYSTALS[name], {"total": "shift"}
    if crystal.formal is not None:
        charge = crystal.formal / math.sqrt(permittivity(name))
        anion = name.removeprefix(crystal.cation)
        charges["initial"] = {crystal.cation: charge, anion: -charge}
    return {
        "data": {
            "train": str(data_set(f"ionic-crystals-phonopy/{name}.xyz")),
            "valid_fraction": 0.1,
        },
        "model": {
            "backbone": {
                "cutoff": crystal.cutoff, "l_max": 3, "body_order": 3, "n_rbf": 6,
                "n_radial_basis": 8,
            },
            "charges": charges,
            "electrostatics": {"sigma": 1.0, "k_max": 3.14159},
        },
        "epochs": crystal.epochs,
        "batch_size": 1,
        "loss": {"energy": 1.0, "forces": 1.0},
        "optimizer": {"learning_rate": 1e-2, "warmup_steps": 100, "clip_update": 1.0},
        "validate_every": 10,
        "checkpoint_every": 10,
    }  # fmt: skip


@cache
def reference(name: str) -> dict:
    """Born charges (e) by element, and the dielectric tensor, of the DFT."""
    record = json.loads(data_set(f"ionic-crystals-phonopy/{name}_born.json").read_text())
    charges = zip(record["primitive_symbols"], record["born_effective_charge"], strict=True)
    return {"born": dict(charges), "dielectric": np.array(record["dielectric_constant"])}


def permittivity(name: str) -> float:
    """Epsilon_infinity of the DFT, averaged over the axes."""
    return float(np.trace(reference(name)["dielectric"]) / 3.0)


def moved(frame: Atoms, positions) -> np.ndarray:
    """Displacements (atoms, 3) from positions to those of the frame, by the nearest image."""
    return find_mic(frame.positions - positions, frame.cell)[0]


def average_crystal(frames: list[Atoms], crystal: Crystal) -> Phonopy:
    """The average of all frames and of all their conventional cells."""
    first = frames[0].positions
    mean = first + np.mean([moved(frame, first) for frame in frames], axis=0)
    cell = frames[0].cell.array / np.array(crystal.cells)[:, None]
    scaled, sites = mean @ np.linalg.inv(cell), []
    for number, place in zip(frames[0].numbers, scaled, strict=True):
        for site in sites:
            away = place - site["first"]
            away -= np.round(away)
            if site["number"] == number and np.linalg.norm(away @ cell) < 0.5:
                site["away"].append(away)
                break
        else:
            sites.append({"number": number, "first": place, "away": [np.zeros(3)]})
    places = np.array([site["first"] + np.mean(site["away"], axis=0) for site in sites])
    if crystal.centring == "F":  # the sites of rock salt are half an edge apart
        apart = np.round(2.0 * (places - places[0])) / 2.0
        places = apart + np.mean(places - apart, axis=0)
    unit = PhonopyAtoms(
        numbers=[site["number"] for site in sites], cell=cell, scaled_positions=places
    )
    return Phonopy(
        unit, np.diag(crystal.cells), primitive_matrix=crystal.centring, symprec=0.02
    )


def optical(phonon: Phonopy, charges, epsilon) -> dict:
    """Optical frequencies at Gamma (THz): without the field, and with it along each axis."""
    acoustic, found = 3, {}
    for name, direction in {"transverse": None, **DIRECTIONS}.items():
        phonon.nac_params = None if direction is None else nac_params(charges, epsilon)
        done = phonon.run_qpoints([(0, 0, 0)], nac_q_direction=direction).frequencies[0]
        found[name] = [float(frequency) for frequency in done[acoustic:]]
    return found


def splitting(modes: dict) -> dict:
    """Highest optical frequency (cm^-1) without the field, and with it along each axis."""
    return {name: THZ_TO_WAVENUMBER * max(modes[name]) for name in modes}


def study(name: str, model, frames: list[Atoms], known: dict) -> dict:
    """Born charges, force errors and frequencies of a model beside those of DFT."""
    crystal = CRYSTALS[name]
    phonon = model_phonon(average_crystal(frames, crystal), model)
    primitive = as_atoms(phonon.primitive)
    cation = primitive.get_chemical_symbols().index(crystal.cation)
    found = model.predict(primitive, want=("charges", "born_charges"))
    sign, factor = np.sign(np.trace(found.born_charges[cation])), math.sqrt(permittivity(name))
    charges = sign * found.born_charges
    violation = np.mean(charges, axis=0)
    charges = charges - violation
    expected = np.array([known["born"][symbol] for symbol in primitive.get_chemical_symbols()])
    modes = optical(phonon, charges, known["dielectric"])
    quiet = sorted(frames, key=lambda frame: np.mean(frame.get_forces() ** 2))
    dft = dft_phonon(average_crystal(frames, crystal), quiet[: len(frames) // 3])
    dft_modes = optical(dft, expected, known["dielectric"])
    predicted = model.predict(frames, want=("forces",))
    pairs = [(f.get_forces(), o.forces) for f, o in zip(frames, predicted, strict=True)]
    return {
        "force_rmse": 1e3 * error_of(pairs)["rmse"],
        "cation": np.diag(charges[cation]).tolist(),
        "cation_dft": np.diag(expected[cation]).tolist(),
        "ion_charge": factor * float(sign * found.charges[cation]),
        "acoustic_sum_per_atom": np.diag(violation).tolist(),
        "largest_deviation": float(
            np.abs(np.diag(charges[cation]) / np.diag(expected[cation]) - 1.0).max()
        ),
        "highest_cm-1": splitting(modes),
        "highest_cm-1_dft": splitting(dft_modes),
        "modes_THz": modes,
        "modes_THz_dft": dft_modes,
    }


def draw(path, results: dict) -> None:
    """Born charges and the highest optical frequencies of all crystals, ours and of DFT."""
    figure, (left, right) = new_figure(4.0, 3.4, columns=2)
    names = list(results)
    for shift, (key, color, label) in enumerate(
        (("cation_dft", INK, "DFT"), ("cation", ACCENT, "latent charges"))
    ):
        values = [results[name][key][0] for name in names]
        left.bar(np.arange(len(names)) + 0.36 * shift, values, 0.34, color=color, label=label)
    left.set_xticks(np.arange(len(names)) + 0.18, names)
    left.set_ylabel("Born charge of the cation along x (e)")
    left.legend(frameon=False, fontsize=8)
    for direction, marker, color in (("transverse", "o", SECOND), ("z", "D", ACCENT)):
        x = [results[name]["highest_cm-1_dft"][direction] for name in names]
        y = [results[name]["highest_cm-1"][direction] for name in names]
        label = {"transverse": "without the field", "z": "with it, along z"}[direction]
        right.plot(x, y, marker, color=color, label=label)
    top = 1.1 * max(max(results[name]["highest_cm-1_dft"].values()) for name in names)
    right.plot((0, top), (0, top), color=INK, linewidth=0.6)
    right.set(xlabel="DFT (cm$^{-1}$)", ylabel="model (cm$^{-1}$)", title="highest mode at Γ")
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    results = {}
    for name in chosen.crystals[: 1 if chosen.smoke else None]:
        frames = ase.io.read(data_set(f"ionic-crystals-phonopy/{name}.xyz"), ":")
        frames, known = of_smallest_cell(frames), reference(name)
        folder = chosen.out / name
        trained(settings(name), folder, chosen.smoke)
        screening = ScreeningConfig(permittivity(name))
        model = load_model(folder, "float64", screening=screening)
        results[name] = study(name, model, frames, known)
        results[name]["training_seconds"] = training_seconds(folder)
        print(name, json.dumps(results[name]), flush=True)
    draw(chosen.out / "crystals.png", results)
    write_results(chosen.out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/crystals")
    parser.add_argument("--crystals", nargs="+", default=list(CRYSTALS), choices=CRYSTALS)
    run(main, parser)
