"""One small distillation, of ions whose charges are known."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase.io import write

from jles.config import from_dict
from jles.distill.config import DistillConfig
from jles.distill.run import distill
from tests.support.salt import cluster

SETTINGS = {
    "sample": {
        "temperatures": [100.0, 200.0],
        "steps": 60,
        "discard": 10,
        "interval": 5,
        "timestep": 2.0,
        "rattle": 0.3,
    },
    "pick": {"frames": 12, "test_frames": 4},
    "student": {
        "backbone": "painn",
        "settings": {
            "model": {
                "backbone": {
                    "cutoff": 4.0,
                    "n_atom_basis": 8,
                    "n_interactions": 1,
                    "n_rbf": 4,
                    "degree": 0,
                },
                "energy": {"hidden": [4]},
                "charges": {"hidden": [4]},
            },
            "data": {"valid_fraction": 0.25, "max_buckets": 1},
            "batch_size": 3,
            "epochs": 80,
            "validate_every": 80,
            "checkpoint_every": 80,
            "loss": {"energy": 1.0, "forces": 1.0},
            "optimizer": {"learning_rate": 0.03, "warmup_steps": 0},
        },
    },
}
"""The ions stay farther apart than the cutoff, so that only charges can explain the forces."""


class Distilled(NamedTuple):
    """A finished distillation and what it was made from."""

    out: Path
    start: Path
    config: DistillConfig
    record: dict

    def again(self, out, resume=False, **changes):
        """The same into another directory."""
        config = self.config.replace(**changes)
        return distill("tests.support.salt:Salt", [str(self.start)], config, out, resume)


@pytest.fixture(scope="session")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled")
    start = folder / "start.xyz"
    atoms = cluster(length=6.0)
    atoms.set_initial_charges([1.0] + 7 * [0.0])
    atoms.info["spin"] = 2
    write(start, atoms)
    config = from_dict(DistillConfig, SETTINGS, "settings")
    out = folder / "out"
    record = distill("tests.support.salt:Salt", [str(start)], config, out)
    np.testing.assert_equal(record["sampled_frames"], 24)
    return Distilled(out, start, config, record)
