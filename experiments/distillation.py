"""Does a student find the charges of its teacher?

Run:     python experiments/distillation.py --out results/distillation
         python experiments/distillation.py --teacher water_v1 --out results/distillation_water
         python experiments/distillation.py --teacher water_mace --out results/distillation_mace
Needs:   nothing for the teacher TIP3P of ASE (water of charges -0.834 and 0.417 e) with springs
         in the molecules, in clusters of eight: three minutes of one core. For the others, the
         published models water_v1.pth (CACE with latent charges) or
         mace/water_mace_r4.5_nl1.model (MACE without charges), structures/water_64.xyz and
         water-rpbe-d3 (JLES_DATA): ten to thirty minutes of one core.
Writes:  student/ (the directory of `jles distill`) and results.json in --out; for TIP3P also
         start.xyz, for the others teacher/, the runs "md student" and (water_v1) "md teacher",
         and rdf.png.
Expect:  the charges of TIP3P; the forces and the structure of liquid water of the teacher, and
         Born charges near those of DFT, although MACE has none. No published number; arXiv
         2606.15001 distils with 100 to 500 frames.
"""

import csv
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ladder
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import all_changes
from ase.calculators.tip3p import TIP3P, angleHOH, rOH
from ase.io import read, write
from common import duration, options, run, settled, write_results

from jles.analysis.reports.rdf import radial_distributions
from jles.analysis.run import open_run
from jles.cache_folder import use_compilation_cache
from jles.config import from_dict
from jles.data.sets import data_set, published_model
from jles.distill.config import DistillConfig
from jles.distill.run import distill
from jles.interop.torch_import import import_torch
from jles.models.store import save_model
from jles.pictures import ACCENT, GUIDE, new_figure, save_figure
from jles.predict.model import load_model

SETTINGS = {
    "teacher": {"rc": 100.0},
    "sample": {
        "temperatures": [50.0, 150.0],
        "steps": 600,
        "discard": 100,
        "interval": 10,
        "timestep": 0.5,
    },
    "pick": {"frames": 100, "test_frames": 40},
    "student": {
        "backbone": "painn",
        "settings": {
            "model": {
                "backbone": {"cutoff": 4.0, "n_atom_basis": 32, "n_interactions": 1},
                "charges": {"scale": 0.5},
            },
            "batch_size": 2,
            "epochs": 160,
            "loss": {"energy": 3.0, "forces": 1.0},
            "optimizer": {"learning_rate": 2e-2, "warmup_steps": 100},
            "validate_every": 5,
            "checkpoint_every": 5,
        },
    },
}
"""Clusters need no cutoff of the teacher: its charges interact at all distances."""

SCREENING = {"epsilon_infinity": 1.78, "positive": "H"}
LIQUID = {
    "sample": {"temperatures": [300.0, 450.0], "steps": 500, "discard": 100, "interval": 4},
    "pick": {"frames": 100, "test_frames": 40},
    "label_stress": False,
}
"""64 molecules."""


def student(kind: str, epochs: int, model: dict) -> dict:
    """Settings of a student with a cutoff of 4.5 angstrom."""
    model = {"screening": SCREENING, "electrostatics": {"k_max": 3.14159}} | model
    settings = {
        "model": model,
        "batch_size": 1,
        "epochs": epochs,
        "loss": {"energy": {0: 1.0, int(0.9 * epochs): 10.0}},
        "validate_every": 5,
        "checkpoint_every": 5,
    }
    return {"backbone": kind, "settings": settings}


CACE = {"cutoff": 4.5, "l_max": 3, "body_order": 3, "n_rbf": 6, "n_radial_basis": 8}
PAINN = {"cutoff": 4.5, "n_atom_basis": 64, "n_interactions": 2, "degree": 2}


class Teacher(NamedTuple):
    """A published model of liquid water.

    Attributes:
        file: of the model.
        values: settings of the distillation.
        picoseconds: lengths of the runs of student and teacher.
    """

    file: str
    values: dict
    picoseconds: dict[str, float]


WATER = {
    "water_v1": Teacher(
        "water_v1.pth",
        LIQUID
        | {
            "teacher": {"screening": SCREENING},
            "student": student("cace", 20, {"backbone": CACE}),
        },
        {"student": 2.0, "teacher": 1.0},
    ),
    "water_mace": Teacher(
        "mace/water_mace_r4.5_nl1.model",
        LIQUID
        | {
            "student": student(
                "painn",
                40,
                {
                    "backbone": PAINN,
                    "charges": {"total": "shift"},
                    "dipoles": {},
                    "quadrupoles": {},
                    "polarizability": {},
                },
            )
        },
        {"student": 1.0},
    ),
}

SKIPPED_PS = 0.25


class Springs(TIP3P):
    """ASE's TIP3P with a spring between any two atoms of a molecule, which is rigid there."""

    stiffness = np.array([[40.0], [40.0], [10.0]])
    """Of O-H, O-H and H-H, eV/angstrom^2; the stretches are near 3400 1/cm."""

    lengths = np.array([[rOH], [rOH], [2.0 * rOH * np.sin(np.radians(0.5 * angleHOH))]])
    first, second = (0, 0, 1), (1, 2, 2)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        molecules = self.atoms.positions.reshape(-1, 3, 3)
        bonds = molecules[:, self.second] - molecules[:, self.first]
        lengths = np.linalg.norm(bonds, axis=-1, keepdims=True)
        stretch = lengths - self.lengths
        pull = self.stiffness * stretch * bonds / lengths
        forces = self.results["forces"].reshape(-1, 3, 3)
        for bond, ends in enumerate(zip(self.first, self.second, strict=True)):
            forces[:, ends[0]] += pull[:, bond]
            forces[:, ends[1]] -= pull[:, bond]
        self.results["energy"] += 0.5 * float(np.sum(self.stiffness * stretch**2))


def molecules(spacing: float, seed: int) -> Atoms:
    """Eight water molecules of random orientation near the corners of a cube."""
    rng = np.random.default_rng(seed)
    cluster = Atoms()
    for corner in np.ndindex(2, 2, 2):
        one = molecule("H2O")
        one.rotate(rng.uniform(0.0, 360.0), rng.normal(size=3))
        one.translate(spacing * (np.array(corner) + rng.uniform(-0.05, 0.05, 3)))
        cluster += one
    return cluster


def shortened(values: dict) -> dict:
    """The same distillation with few frames and two epochs."""
    settings = values["student"]["settings"] | {"epochs": 2}
    student = values["student"] | {"settings": settings}
    few = {"temperatures": [150.0], "steps": 30, "interval": 5, "discard": 0}
    return values | {
        "sample": values["sample"] | few,
        "pick": {"frames": 4, "test_frames": 1},
        "student": student,
    }


def resumed(teacher: str, start: Path, values: dict, place: Path) -> dict:
    """The report of a distillation, which continues if it was interrupted."""
    config = from_dict(DistillConfig, values, "SETTINGS")
    return distill(teacher, [str(start)], config, place, (place / "distill.yaml").is_file())


def tip3p(out: Path, smoke: bool) -> dict:
    """Clusters of eight molecules."""
    start = out / "start.xyz"
    write(start, [molecules(spacing, seed) for spacing, seed in ((3.3, 0), (4.5, 1), (6.0, 2))])
    values = shortened(SETTINGS) if smoke else SETTINGS
    return resumed("distillation:Springs", start, values, out / "student")


def water(name: str, out: Path, smoke: bool) -> dict:
    """Liquid water: errors against the teacher and against DFT, speed, dynamics."""
    file, values, picoseconds = WATER[name]
    teacher, start = out / "teacher", data_set("structures/water_64.xyz")
    if not (teacher / "config.yaml").is_file():
        save_model(teacher, *import_torch(published_model(file)))
    values = shortened(values) if smoke else values
    report = resumed(str(teacher), start, values, out / "student")
    places = {"student": out / "student" / "student", "teacher": teacher}
    most = 2 if smoke else None
    against_dft = {name: ladder.score(one, "water", most) for name, one in places.items()}
    atoms, runs = read(start), {}
    for name, ps in picoseconds.items():
        length = duration(0.01 if smoke else ps, 0.5)
        runs[name] = out / f"md {name}"
        settled(load_model(places[name]), atoms, length, 300.0, runs[name])
    skip = 0.0 if smoke else 1e3 * SKIPPED_PS  # fs
    draw_oxygens(out / "rdf.png", runs, skip)
    dynamics = {name: summary(place, skip) for name, place in runs.items()}
    return report | {"against DFT": against_dft, "dynamics": dynamics}


def oxygens(place: Path, skip_fs: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii (angstrom) and the radial distribution of oxygens of a run."""
    columns = radial_distributions([open_run(place, skip_fs)]).columns
    return columns["r (angstrom)"], columns["g O-O (1)"]


def summary(place: Path, skip_fs: float) -> dict:
    """Temperature, speed and the first peak of the oxygens of a run."""
    with (place / "log.csv").open(encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    kelvin = open_run(place, skip_fs).read("thermo", "temperature").values
    radii, g = oxygens(place, skip_fs)
    return {
        "temperature": float(np.mean(kelvin)),
        "its standard deviation": float(np.std(kelvin)),
        "ns a day": float(last["speed (ns/day)"]),
        "first peak at": float(radii[np.argmax(g)]),
        "its height": float(np.max(g)),
    }


def draw_oxygens(path: Path, runs: dict[str, Path], skip_fs: float) -> None:
    """Radial distributions of oxygens of student and teacher."""
    figure, (axis,) = new_figure(5.0, 3.6)
    for color, (name, place) in zip((ACCENT, GUIDE), runs.items(), strict=False):
        axis.plot(*oxygens(place, skip_fs), color=color, label=name)
    axis.set(xlabel="r (Å)", ylabel="g of O-O", xlim=(2.0, None), ylim=(0.0, None))
    axis.legend(frameon=False)
    save_figure(figure, path)


TEACHERS = {"tip3p": tip3p} | {name: partial(water, name) for name in WATER}


def main(chosen):
    use_compilation_cache()
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_results(chosen.out, TEACHERS[chosen.teacher](chosen.out, chosen.smoke))


if __name__ == "__main__":
    parser = options(__doc__, "results/distillation")
    parser.add_argument("--teacher", choices=TEACHERS, default="tip3p")
    run(main, parser)
