"""Imported published models give the published numbers."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from jax.scipy.special import erf
from paths import golden_path, model_path

from jles.calculators.model import Model
from jles.errors import InputError
from jles.interop.cace_import import import_torch
from jles.models.potential import build_potential
from jles.observables.stress import energy_and_forces
from jles.units import COULOMB_CONSTANT

CRYSTALS = [
    "cace/pbtio3_111",
    "cace/pbtio3_222_triclinic",
    "cace/pbtio3_333",
    "cace/superionic_finetune_S2cc_0",
    "cace/superionic_finetune_S2cc_17",
    "cace/superionic_fit_S2cc_0",
    "cace/superionic_fit_S2cc_17",
    "cace/water_v1_testH2O_0",
    "cace/water_v1_testH2O_0_sheared",
    "cace/water_v1_testH2O_1",
    "cace/water_v2_testH2O_0",
    "cace/water_v3_testH2O_0",
    "cace/water_v4_testH2O_0",
    "cace_other/golden_lesfit_water_r4.5_nu3_testH2O_0",
    "cace_other/golden_lrfit_electrolyte_r4.5_mp1_testH2O_0",
    "cace_other/golden_lrfit_water_mp1_testH2O_0",
]
CLUSTERS = [
    "cace/water_v1_cluster4",
    "cace/water_v4_cluster4",
    "cace_other/golden_lesfit_dipep_r4_nl2_nu3_cluster4",
]
ONE_PER_MODEL = [
    name
    for name in CRYSTALS + CLUSTERS
    if not name.endswith(("_111", "_333", "_17", "_1", "d"))
]
PUBLISHED_DISTANCE_OFFSET = 1e-6
"""The reference divides by r + 1e-6 angstrom in its sum over pairs of a cluster."""


class Golden:
    """One file of reference numbers under the names used here; what it lacks is None."""

    def __init__(self, name: str):
        data = np.load(golden_path(f"{name}.npz"))
        self.model = str(data["model"])
        self.atoms = Atoms(
            data["numbers"], data["positions"], cell=data["cell"], pbc=data["pbc"]
        )
        self.crystal = bool(data["pbc"].any())
        pick = {key: data[key] for key in data.files}

        def first(*names):
            return next((pick[key] for key in names if key in pick), None)

        self.energy = float(np.ravel(first("energy", "total_energy", "m0_CACE_energy"))[0])
        self.forces = first("forces", "total_forces", "m0_CACE_forces")
        stress = first("stress", "m0_stress") if self.crystal else None
        self.stress = None if stress is None else stress.reshape(3, 3)
        self.charges = first("q", "m1_q", "m0_LES_charge").reshape(len(self.atoms), -1)
        self.charges_are_raw = "m0_LES_charge" not in pick
        self.features = first("features", "m0_features0").reshape(-1, self._width(pick))
        self.feature_atoms = pick.get("feature_atoms", np.array([0]))

    @staticmethod
    def _width(pick):
        return pick["features"].shape[1] if "features" in pick else pick["m0_features0"].size

    def charges_in_e(self, scale: float) -> np.ndarray:
        """The reference's charges times what turns its unit into e."""
        # The newer charge module has the factor 0.1 of its output in what it reports.
        return self.charges * (scale if self.charges_are_raw else scale / 0.1)


@cache
def imported(name: str, dtype: str) -> Model:
    """A published model; the cache lets files of one model share compilations."""
    config, params = import_torch(model_path(f"{name}.pth"))
    return Model(config, params, dtype, name)


def predict(golden: Golden, dtype: str):
    """Everything the reference file has, and the model it comes from."""
    model = imported(golden.model, dtype)
    want = ["energy", "forces", "charges", "features"] + ["stress"] * golden.crystal
    return model.predict(golden.atoms, want), model


def relative_error(value, reference) -> float:
    """Largest deviation in units of the largest number."""
    return float(np.max(np.abs(value - reference)) / np.max(np.abs(reference)))


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystal_in_float64(name):
    golden = Golden(name)
    out, model = predict(golden, "float64")
    charges = out.charges.reshape(golden.charges.shape)
    assert relative_error(out.energy, golden.energy) < 1e-6
    assert relative_error(out.forces, golden.forces) < 1e-6
    assert relative_error(charges, golden.charges_in_e(model.config.charges.scale)) < 1e-6
    assert relative_error(out.features[golden.feature_atoms], golden.features) < 1e-6
    if golden.stress is not None:
        assert relative_error(out.stress, golden.stress) < 1e-6


@pytest.mark.parametrize("name", CLUSTERS)
def test_cluster_in_float64(name):
    golden = Golden(name)
    model = imported(golden.model, "float64")
    # Only the older of the two charge modules has the offset in its denominators.
    offset = PUBLISHED_DISTANCE_OFFSET if golden.charges_are_raw else 0.0
    sigma = model.config.electrostatics.sigma

    def published_energy(structure):
        charges = model.charges_fn(model.params, structure)
        extra = offset_energy(charges, structure, sigma, offset)
        return model.energy_fn(model.params, structure) + extra

    structure = jax.tree.map(jnp.asarray, model.structure(golden.atoms))
    count = len(golden.atoms)
    energy, forces = jax.jit(lambda s: energy_and_forces(published_energy, s))(structure)
    charges = model.charges_fn(model.params, structure)[:count]
    assert relative_error(energy, golden.energy) < 1e-6
    assert relative_error(forces[:count], golden.forces) < 1e-6
    assert relative_error(charges, golden.charges_in_e(model.config.charges.scale)) < 1e-6


def offset_energy(charges, structure, sigma, offset):
    """What an offset of the distance in the denominator adds to the pair sum, eV."""
    positions, mask = structure.positions, structure.mask
    pairs = mask[:, None] & mask[None, :] & ~jnp.eye(len(mask), dtype=bool)
    squared = jnp.sum((positions[:, None] - positions[None, :]) ** 2, axis=-1)
    distance = jnp.sqrt(jnp.where(pairs, squared, 1.0))
    change = erf(distance / (sigma * np.sqrt(2.0))) * (1 / (distance + offset) - 1 / distance)
    kernel = jnp.where(pairs, COULOMB_CONSTANT * change, 0.0)
    return 0.5 * jnp.einsum("ic,ij,jc->", charges, kernel, charges)


@pytest.mark.parametrize("name", ONE_PER_MODEL)
def test_float32(name):
    golden = Golden(name)
    out, model = predict(golden, "float32")
    charges = out.charges.reshape(golden.charges.shape)
    assert np.max(np.abs(out.forces - golden.forces)) < 1e-4
    assert abs(out.energy - golden.energy) / len(golden.atoms) < 2e-6
    assert relative_error(charges, golden.charges_in_e(model.config.charges.scale)) < 1e-5


MODELS = [
    "lesfit_dipep_r4_nl2_nu3",
    "lesfit_water_r4.5_nu3",
    "lrfit_electrolyte_r4.5_mp1",
    "lrfit_water_mp1",
    "pbtio3_phase_4",
    "superionic_finetune",
    "superionic_fit",
    "water_v1",
    "water_v2",
    "water_v3",
    "water_v4",
]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_model(name):
    config, params = import_torch(model_path(f"{name}.pth"))
    init = build_potential(config).init
    expected = jax.eval_shape(init, jax.ShapeDtypeStruct((2,), np.uint32))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), params) == jax.tree.map(
        lambda a: (a.shape, a.dtype), expected
    )


def test_settings_are_those_of_the_papers():
    water, _ = import_torch(model_path("water_v1.pth"), {"H": -5.5})
    assert water.elements == ("H", "O")
    assert water.backbone.cutoff == 5.5
    assert water.element_energies == {"H": -5.5}
    assert not water.electrostatics.remove_self
    newer, _ = import_torch(model_path("lesfit_water_r4.5_nu3.pth"))
    assert newer.electrostatics.remove_self
    four, _ = import_torch(model_path("lrfit_water_mp1.pth"))
    assert four.charges.channels == 4
    oxide, _ = import_torch(model_path("pbtio3_phase_4.pth"))
    assert oxide.elements == ("O", "Pb", "Ti")
    assert oxide.backbone.messages == ("memory", "ar", "bchi")


def test_an_energy_of_an_absent_element_is_refused():
    with pytest.raises(InputError, match="'Pb'"):
        import_torch(model_path("water_v1.pth"), {"H": -5.5, "Pb": 1.0})


@pytest.mark.parametrize("kept", [0, 1000, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path, kept):
    data = model_path("water_v1.pth").read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(InputError, match="cut.pth"):
        import_torch(path)
