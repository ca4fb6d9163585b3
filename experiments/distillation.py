"""Does the student of a force field find its charges?

Run:     python experiments/distillation.py --out results/distillation
Needs:   nothing: the teacher is ASE's TIP3P (water of charges -0.834 and 0.417 e) with springs
         in the molecules, for clusters of eight; three minutes of one core.
Writes:  start.xyz, student/ (the directory of `jles distill`) and results.json in --out.
Expect:  the charges of TIP3P; no published number.
"""

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import all_changes
from ase.calculators.tip3p import TIP3P, angleHOH, rOH
from ase.io import write
from common import options, run, write_results

from jles.config import from_dict
from jles.distill.config import DistillConfig
from jles.distill.run import distill

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
    student = values["student"] | {"settings": values["student"]["settings"] | {"epochs": 2}}
    return values | {
        "sample": values["sample"] | {"temperatures": [150.0], "steps": 30, "discard": 0},
        "pick": {"frames": 4, "test_frames": 1},
        "student": student,
    }


def main(chosen):
    out = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    start, place = out / "start.xyz", out / "student"
    write(start, [molecules(spacing, seed) for spacing, seed in ((3.3, 0), (4.5, 1), (6.0, 2))])
    values = shortened(SETTINGS) if chosen.smoke else SETTINGS
    config = from_dict(DistillConfig, values, "SETTINGS")
    teacher, resume = "distillation:Springs", (place / "distill.yaml").is_file()
    write_results(out, distill(teacher, [str(start)], config, place, resume))


if __name__ == "__main__":
    run(main, options(__doc__, "results/distillation"))
