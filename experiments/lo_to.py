"""Do energies and forces alone split the optical modes of MgO at the zone centre?

Run:     python experiments/lo_to.py --out results/lo_to
Needs:   ionic-crystals-phonopy (JLES_DATA), phonopy and symfc; one core, about twelve minutes,
         ten of them for two trainings.
Writes:  MgO/q_cutoff_4/, MgO/q/ (models, with BORN), results.json, lo_to.png in --out.
Expect:  TO 12.0 THz (401 cm^-1), LO 21.5 to 21.7 THz (718-725 cm^-1): experiment, Jasperse,
         Kahan, Plendl and Mitra, Phys. Rev. 146, 526 (1966). A model can at best reach the DFT
         of its data: force constants fitted here to the DFT forces, with the Born charges of
         DFT.

In a supercell, a long-range model includes the dipole-dipole interaction, and so the splitting,
of every phonon that fits the cell. The dots of a long cell, without correction, show it. Two
cases are missing: the phonon at zero wave vector, which has no macroscopic field in a periodic
cell (TO only), and all phonons that do not fit. phonopy's correction (Gonze and Lee) adds the
first. For the others it subtracts the dipole-dipole part, interpolates, and adds that part
again, so that phonons that fit are not counted twice. The correction needs Z* and
epsilon_infinity. For a charges-only model it depends on Z* Z*/epsilon_infinity alone, in which
the factor sqrt(epsilon_infinity) between latent and physical charges cancels: the splitting is
a result of energies and forces alone. Model and DFT have the lattice constant of the data;
nothing is relaxed.
"""

import json
from typing import NamedTuple

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic
from common import options, run, trained, training_seconds, write_results
from ladder import settings
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from jles.data.sets import data_set
from jles.observables.born_charges import acoustic_sum, born_charges, obey_sum_rule
from jles.observables.screening import gauge_sign
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure
from jles.predict.model import load_model
from jles.predict.phonopy_born import nac_params, write_born
from jles.quantities.evaluation import Evaluation

DISPLACEMENT = 0.01  # angstrom
GAMMA, X, X_BEYOND_K, K, L = (
    np.array(q) for q in ((0, 0, 0), (0, 1, 1), (1, 1, 2), (0.75, 0.75, 1.5), (1, 1, 1))
)  # twice the coordinates in the primitive cell
PATH = [(GAMMA, X), (X_BEYOND_K, K), (K, GAMMA), (GAMMA, L)]
LABELS = ("Γ", "X", "K", "Γ", "L")
THZ_TO_WAVENUMBER = 33.35641
EXPERIMENT = {"TO": 12.0, "LO": 21.6}  # THz
# Most frames are cells of 8.4 angstrom. With a cutoff of 5 angstrom an atom sees every other
# atom, and forces do not determine the long range; with a cutoff below half the cell they do.
# The energy weight is constant: an earlier step to 30 after 60 % of the epochs raised the force
# error from 4 to 15 meV/angstrom.
SHORT = "q_cutoff_4"
TITLES = {
    SHORT: "cutoff 4 Å, energy weight 1",
    "q": "cutoff 5 Å, energy weight 1, then 10",
}


class Size(NamedTuple):
    """Sizes of the study: conventional cells in the long cell, points on a path segment."""

    long: int
    points: int


def training(name: str) -> dict:
    """Settings of the rung `q` of ladder.py, or a cutoff below half the cell."""
    values = settings("MgO", "q")
    if name == SHORT:
        values["model"]["backbone"]["cutoff"] = 4.0
        values["loss"]["energy"] = 1.0
    return values


def reference():
    """Lattice constant (angstrom), Born charges (e) and dielectric tensor of the DFT."""
    record = json.loads(data_set("ionic-crystals-phonopy/MgO_born.json").read_text())
    constant = 2.0 * record["primitive_lattice"][0][1]
    return constant, record["born_effective_charge"], record["dielectric_constant"]


def phonon_of(constant: float, supercell) -> Phonopy:
    """Rock salt with magnesium first; the primitive cell has one atom of each element."""
    atoms = bulk("MgO", "rocksalt", a=constant, cubic=True)
    atoms = atoms[np.argsort(atoms.numbers == 8, kind="stable")]
    unit = PhonopyAtoms(
        atoms.get_chemical_symbols(), cell=atoms.cell[:], positions=atoms.positions
    )
    return Phonopy(unit, supercell_matrix=supercell, primitive_matrix="F")


def as_atoms(cell: PhonopyAtoms) -> Atoms:
    """The cell of phonopy as periodic ASE atoms."""
    return Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)


def model_phonon(phonon: Phonopy, model) -> Phonopy:
    """Force constants of the supercell by finite displacements."""
    phonon.generate_displacements(distance=DISPLACEMENT)
    calculator = model.calculator()
    phonon.forces = [
        calculator.get_forces(as_atoms(cell)) for cell in phonon.supercells_with_displacements
    ]
    phonon.produce_force_constants()
    return phonon


def dft_phonon(phonon: Phonopy, frames: list[Atoms]) -> Phonopy:
    """Force constants fitted to the DFT forces of frames of the supercell.

    In a frame all atoms are displaced; they may be in another order than those of phonopy.
    """
    ideal, displacements, forces = as_atoms(phonon.supercell), [], []
    pairs = len(ideal), len(ideal)
    for frame in frames:
        away = frame.positions[None] - ideal.positions[:, None]
        away, distances = find_mic(away.reshape(-1, 3), ideal.cell)
        order = np.argmin(distances.reshape(pairs), axis=1)
        assert list(frame.numbers[order]) == list(ideal.numbers)
        displacements.append(away.reshape(*pairs, 3)[np.arange(len(order)), order])
        forces.append(frame.get_forces()[order])
    phonon.dataset = {"displacements": np.array(displacements), "forces": np.array(forces)}
    phonon.produce_force_constants(fc_calculator="symfc")
    return phonon


def of_smallest_cell(frames: list[Atoms]) -> list[Atoms]:
    """The frames of the smallest cell."""
    size = min(len(frame) for frame in frames)
    return [frame for frame in frames if len(frame) == size]


def force_errors(model, frames: list[Atoms]) -> dict:
    """Force RMSE (meV/angstrom) of the frames, by the size of the cell."""
    squares = {}
    for frame in frames:
        error = model.predict(frame, want=("forces",)).forces - frame.get_forces()
        squares.setdefault(len(frame), []).append(np.mean(error**2))
    return {f"{size} atoms": 1e3 * float(np.sqrt(np.mean(s))) for size, s in squares.items()}


def latent_born_charges(model, primitive: Atoms):
    """Latent Born charges (atoms, 3, 3), e, signed to make Mg positive, and their sum."""
    with jax.enable_x64(True):
        structure = model.structure(primitive)
        coupling = Evaluation(model.potential, model.params, structure).coupling
        charges = born_charges(coupling, structure.positions)
        size = jnp.trace(charges, axis1=1, axis2=2)
        sign = gauge_sign(size, structure.numbers == 12, structure.mask)
        kept = sign * obey_sum_rule(charges, structure.mask)
        count = len(primitive)
        return np.asarray(kept)[:count], np.asarray(sign * acoustic_sum(charges))


def optical_modes(phonon: Phonopy) -> dict:
    """TO and LO towards X, THz; equal without the correction."""
    found = phonon.run_qpoints([GAMMA], nac_q_direction=X).frequencies[0]
    return {
        "TO": float(found[3]),
        "LO": float(found[5]),
        "lowest": float(found[0]),
        "TO_cm-1": float(found[3] * THZ_TO_WAVENUMBER),
        "LO_cm-1": float(found[5] * THZ_TO_WAVENUMBER),
    }


def bands(phonon: Phonopy, points: int):
    """Distances (points,) and frequencies (points, 6) of every segment of the path."""
    legs = [np.linspace(start, end, points) / 2.0 for start, end in PATH]
    found = phonon.run_band_structure(legs)
    return list(zip(found.distances, found.frequencies, strict=True))


def study(model, constant, dft_nac, frames, folder, size: Size) -> tuple[dict, dict]:
    """Numbers and bands of one model."""
    phonon = model_phonon(phonon_of(constant, [2, 2, 2]), model)
    undisplaced = model.predict(as_atoms(phonon.supercell), want=("forces",)).forces
    latent, violation = latent_born_charges(model, as_atoms(phonon.primitive))
    epsilon = dft_nac["dielectric"]
    physical = np.sqrt(np.trace(epsilon) / 3.0) * latent
    corrections = {"without": None, "with": nac_params(physical, epsilon), "with_dft": dft_nac}
    independent = phonon.primitive_symmetry.get_independent_atoms()
    write_born(folder / "BORN", physical, epsilon, independent)
    modes, curves = {}, {}
    for name, correction in corrections.items():
        phonon.nac_params = correction
        modes[name], curves[name] = optical_modes(phonon), bands(phonon, size.points)
    fitting = np.arange(1, size.long + 1) / size.long
    phonon.nac_params = corrections["with"]
    corrected = phonon.run_qpoints(fitting[:, None] * X / 2.0).frequencies
    long_cell = model_phonon(phonon_of(constant, [size.long, 1, 1]), model)
    own = long_cell.run_qpoints(fitting[:, None] * X / 2.0).frequencies
    curves["long_cell"] = (fitting * curves["without"][0][0][-1], own)
    results = {
        "force_rmse": force_errors(model, frames),
        "largest_force_undisplaced": float(np.abs(undisplaced).max()),
        "born_charge_Mg_latent": float(np.trace(latent[0]) / 3.0),
        "born_charge_Mg_physical": float(np.trace(physical[0]) / 3.0),
        "acoustic_sum_latent": float(np.trace(violation) / 3.0),
        "at_gamma": modes,
        "shortest_wave_number_in_long_cell": {
            "of_X": 1.0 / size.long,
            "LO_own": float(own[0, -1]),
            "LO_corrected": float(corrected[0, -1]),
            "TO_own": float(own[0, 3]),
            "TO_corrected": float(corrected[0, 3]),
        },
    }
    return results, curves


def draw(path, curves: dict, dft: list) -> None:
    """Bands of each model beside those of DFT, the long cell and experiment."""
    figure, axes = new_figure(columns=len(curves), width=5.4, height=4.4)
    for axis, (title, own) in zip(axes, curves.items(), strict=True):
        styles = (
            (
                dft,
                "DFT of the data",
                {"color": INK, "linewidth": 1.0, "linestyle": ":", "zorder": 2.5},
            ),
            (own["without"], "without correction", {"color": SECOND, "linewidth": 1.0}),
            (own["with"], "with its own Born charges", {"color": ACCENT, "linewidth": 1.4}),
        )
        for legs, label, style in styles:
            for number, (distance, frequencies) in enumerate(legs):
                lines = axis.plot(distance, frequencies, **style)
                if number == 0:
                    lines[0].set_label(label)
        places, frequencies = own["long_cell"]
        dots = axis.plot(places, frequencies, "o", color=INK, markersize=3.5, mfc="white")
        dots[0].set_label("long cell, without correction")
        ticks = [dft[0][0][0]] + [distance[-1] for distance, _ in dft]
        zone_centre = 2 * [ticks[LABELS.index("Γ", 1)]]
        measured = axis.plot(
            zone_centre, list(EXPERIMENT.values()), "D", color=INK, markersize=5, zorder=3
        )
        measured[0].set_label("experiment")
        axis.set_xticks(ticks, LABELS)
        axis.set(xlim=(ticks[0], ticks[-1]), ylim=(0.0, 23.0), ylabel="frequency (THz)")
        axis.set_title(title, fontsize=9)
    axes[0].legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.43, 0.0))
    save_figure(figure, path)


def main(chosen):
    out = chosen.out
    size = Size(long=2, points=5) if chosen.smoke else Size(long=8, points=41)
    constant, charges, epsilon = reference()
    dft_nac = nac_params(charges, epsilon)
    frames = ase.io.read(data_set("ionic-crystals-phonopy/MgO.xyz"), ":")
    if chosen.smoke:
        frames = of_smallest_cell(frames)[:4]
    dft = dft_phonon(phonon_of(constant, [2, 2, 2]), of_smallest_cell(frames))
    dft.nac_params = dft_nac
    results = {
        "experiment": EXPERIMENT,
        "dft": {
            "at_gamma": optical_modes(dft),
            "born_charge_Mg": float(dft_nac["born"][0, 0, 0]),
            "epsilon_infinity": float(dft_nac["dielectric"][0, 0]),
        },
    }
    curves = {}
    for name in (SHORT,) if chosen.smoke else TITLES:
        folder = out / "MgO" / name
        trained(training(name), folder, chosen.smoke)
        model = load_model(folder, "float64")
        results[name], own = study(model, constant, dft_nac, frames, folder, size)
        results[name]["training_seconds"] = training_seconds(folder)
        curves[TITLES[name]] = own
    draw(out / "lo_to.png", curves, bands(dft, size.points))
    write_results(out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/lo_to"))
