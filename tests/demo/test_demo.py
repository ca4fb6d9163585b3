"""The demo's data are exact point charges, and the demo runs from end to end."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.cli.main import main
from jles.config import from_dict
from jles.data.frames import read_frames
from jles.demo import run as demo
from jles.demo.point_charges import (
    BOX,
    N_PARTICLES,
    REPULSION_ENERGY,
    REPULSION_LENGTH,
    hidden_charges,
    make_frames,
    total_energy,
)
from jles.errors import InputError
from jles.predict.model import Model, Prediction
from jles.train.config import TrainConfig
from jles.units import COULOMB_CONSTANT
from tests.support.coulomb_oracles import central_difference, short_range_complement
from tests.support.small_systems import TINY_MODEL, small_config


@pytest.fixture(scope="module")
def frames():
    return make_frames(2, seed=7)


def point_charge_ewald(charges, positions, splitting=0.55):
    """Energy of point charges by a plain double loop with its own splitting, eV."""
    sigma = 1.0 / (math.sqrt(2.0) * splitting)
    real = short_range_complement(charges, positions, BOX * np.eye(3), sigma)
    n = np.arange(-13, 14)
    index = np.stack(np.meshgrid(n, n, n), -1).reshape(-1, 3)
    k = 2.0 * math.pi / BOX * index[np.any(index != 0, axis=1)]
    squared = np.sum(k**2, axis=1)
    factor = np.exp(1j * (k @ positions.T)) @ charges
    green = np.exp(-squared / (4.0 * splitting**2)) / squared
    reciprocal = 2.0 * math.pi / BOX**3 * np.sum(green * np.abs(factor) ** 2)
    own = splitting / math.sqrt(math.pi) * np.sum(charges**2)
    return real + COULOMB_CONSTANT * (reciprocal - own)


def repulsion(positions):
    """Weeks-Chandler-Andersen over all pairs and images."""
    vectors = positions[:, None] - positions[None]
    vectors -= BOX * np.round(vectors / BOX)
    distance = np.linalg.norm(vectors, axis=-1)[np.triu_indices(len(positions), 1)]
    near = distance[distance < 2.0 ** (1.0 / 6.0) * REPULSION_LENGTH]
    sixth = (REPULSION_LENGTH / near) ** 6
    return np.sum(4.0 * REPULSION_ENERGY * (sixth**2 - sixth) + REPULSION_ENERGY)


def test_energies_are_those_of_point_charges_and_a_wall(frames):
    for atoms in frames:
        charges = atoms.arrays["charge_ref"]
        expected = point_charge_ewald(charges, atoms.positions) + repulsion(atoms.positions)
        energy = atoms.get_potential_energy()
        np.testing.assert_allclose(energy, expected, atol=1e-5)
        # The long-range part matters: it is not the wall alone.
        assert abs(energy - repulsion(atoms.positions)) > 1.0


def test_forces_are_slopes_of_the_energy(frames, rng):
    charges = jnp.asarray(hidden_charges())
    energy = jax.jit(lambda positions: total_energy(charges, positions))
    for atoms in frames:
        direction = rng.normal(size=(N_PARTICLES, 3))
        slope = central_difference(energy, jnp.asarray(atoms.positions), direction)
        np.testing.assert_allclose(-np.vdot(atoms.get_forces(), direction), slope, rtol=1e-6)
        np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0.0, atol=1e-8)


def test_frames_are_neutral_different_and_reproducible(frames):
    first = frames[0]
    assert len(first) == 128
    assert hidden_charges().tolist() == [1.0] * 64 + [-1.0] * 64
    assert not np.allclose(first.positions, frames[1].positions)
    np.testing.assert_array_equal(make_frames(2, seed=7)[0].positions, first.positions)
    for atoms in frames:
        distances = atoms.get_all_distances(mic=True)[np.triu_indices(128, 1)]
        # Nothing overlaps, and the wall leaves no particle in the flat part of its core.
        assert distances.min() > 0.6 * REPULSION_LENGTH
        assert np.abs(atoms.get_forces()).max() < 100.0


def test_the_demo_runs_and_hides_the_charges(frames, tmp_path, monkeypatch, capsys):
    """A small network and a few frames; everything else as in the demo."""
    out = tmp_path / "demo"
    backbone = TINY_MODEL["backbone"] | {"cutoff": 3.5}
    model = TINY_MODEL | {"backbone": backbone}
    monkeypatch.setattr(demo, "SETTINGS", demo.SETTINGS | {"model": model})
    monkeypatch.setattr(demo, "make_frames", lambda count, seed: (frames * count)[:count])
    summary = demo.run_demo(out, epochs=2, frames=2)
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary
    assert all(math.isfinite(value) for value in summary.values())
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in out.iterdir()}
    assert {"train.xyz", "valid.xyz", "test.xyz", "with_charges", "without_charges"} <= names
    for name, count in (("train", 2), ("valid", 10), ("test", 20)):
        read = read_frames(out / f"{name}.xyz")
        assert len(read) == count
        for frame in read:
            assert set(frame.labels) == {"energy", "forces"}
            assert frame.total_charge == 0.0
    reference = read_frames(out / "test.xyz")[0]
    np.testing.assert_allclose(reference.labels["forces"], frames[0].get_forces(), atol=1e-7)
    assert "charge error" in capsys.readouterr().out
    # The next demo replaces this one.
    demo._clear(out)
    assert not (out / "with_charges").exists()


def test_settings_of_the_demo_are_a_valid_training_file():
    values = demo.SETTINGS | {"data": {"train": "t.xyz"}, "epochs": 1}
    config = from_dict(TrainConfig, values, "demo")
    backbone = config.model.backbone
    assert (backbone.cutoff, backbone.l_max, backbone.body_order) == (4.0, 3, 3)
    assert config.model.charges.total == "free"


@pytest.mark.parametrize("name", ["train.xyz", "summary.json", "notes.txt"])
def test_a_folder_with_something_else_in_it_is_refused(name, tmp_path, capsys):
    """The folder may contain other data and runs, which must not be overwritten."""
    (tmp_path / name).write_text("mine", encoding="utf-8")
    (tmp_path / "with_charges").mkdir()
    (tmp_path / "with_charges" / "precious").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="not an earlier demo"):
        demo.run_demo(tmp_path)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "with_charges" / "precious").exists()


def test_scores_compare_charges_up_to_their_sign():
    truth = np.array([[1.0, -1.0], [1.0, -1.0]])
    charges = np.array([[0.9, -1.1], [1.0, -1.0]])
    forces = np.zeros((2, 2, 3))
    found = demo.Found(truth, charges, forces, forces + 0.25)
    assert found.charge_mae == pytest.approx(0.05)
    assert found.force_mae == pytest.approx(0.25)
    summary = demo.summarize({"with_charges": found, "without_charges": found})
    assert summary["mean_charge_positive_e"] == pytest.approx(0.95)
    assert summary["mean_charge_negative_e"] == pytest.approx(-1.05)
    assert summary["force_mae_with_mev_per_angstrom"] == pytest.approx(250.0)


def test_the_recovered_sign_is_the_truths(frames):
    """Energies and forces do not determine the sign, so a convention fixes it."""

    class Opposite(Model):
        """Returns predictions without a network."""

        def __init__(self):
            self.config = small_config()

        def predict(self, atoms, want=(), field=None):
            return [
                Prediction(forces=one.get_forces(), charges=-0.9 * one.arrays["charge_ref"])
                for one in atoms
            ]

    found = demo.compare(Opposite(), frames)
    assert found.charge_mae == pytest.approx(0.1)
    assert found.force_mae == 0.0
    np.testing.assert_allclose(found.charges, 0.9 * found.truth)
