"""Imported published models give the published numbers."""

from functools import cache, partial

import jax
import numpy as np
import pytest

from jles.errors import InputError
from jles.interop.torch_import import import_torch
from jles.models.potential import build_potential
from jles.observables.stress import energy_forces_stress
from jles.structures.batch import build_structure, merge_sizes, pad_structure, size_of
from tests.support.marks import long_unless
from tests.support.paths import golden_path, model_path

pytestmark = pytest.mark.filterwarnings("ignore:.*the long-range energy has a weight of 0.01")

# Files that one compilation serves: same architecture, same kind of structure.
GROUPS = [
    ["cace/pbtio3_111", "cace/pbtio3_222_triclinic", "cace/pbtio3_333"],
    [
        "cace/superionic_finetune_S2cc_0",
        "cace/superionic_finetune_S2cc_17",
        "cace/superionic_fit_S2cc_0",
        "cace/superionic_fit_S2cc_17",
    ],
    [
        "cace/water_v1_testH2O_0",
        "cace/water_v1_testH2O_0_sheared",
        "cace/water_v1_testH2O_1",
    ],
    [
        "cace/water_v2_testH2O_0",
        "cace/water_v3_testH2O_0",
        "cace/water_v4_testH2O_0",
    ],
    ["cace_other/golden_lesfit_water_r4.5_nu3_testH2O_0"],
    ["cace_other/golden_lrfit_electrolyte_r4.5_mp1_testH2O_0"],
    ["cace_other/golden_lrfit_water_mp1_testH2O_0"],
    ["cace/water_v1_cluster4"],
    ["cace/water_v4_cluster4"],
    ["cace_other/golden_lesfit_dipep_r4_nl2_nu3_cluster4"],
]


class Golden:
    """One file of reference numbers under the names used here; missing ones are None."""

    def __init__(self, name: str):
        data = np.load(golden_path(f"{name}.npz"))
        held = {key: data[key] for key in data.files}

        def first(*names):
            return next((held[key] for key in names if key in held), None)

        self.model = str(held["model"])
        self.geometry = held["numbers"], held["positions"], held["cell"], held["pbc"]
        self.energy = float(first("energy", "total_energy", "m0_CACE_energy").item())
        self.forces = first("forces", "total_forces", "m0_CACE_forces")
        stress = first("stress", "m0_stress") if held["pbc"].any() else None
        self.stress = None if stress is None else stress.reshape(3, 3)
        self.charges = first("q", "m1_q", "m0_LES_charge").reshape(len(self.forces), -1)
        # The newer charge module has the factor 0.1 of its output in what it reports.
        self.charge_factor = 0.1 if "m0_LES_charge" in held else 1.0
        self.feature_atoms = held.get("feature_atoms", np.array([0]))
        features = first("features", "m0_features0")
        self.features = features.reshape(len(self.feature_atoms), -1)


@cache
def imported(model: str):
    """Configuration and parameters of a published model."""
    return import_torch(model_path(f"{model}.pth"))


@cache
def evaluate_group(names: tuple[str, ...], dtype: str) -> dict:
    """Reference and result of jles for every file, compiled once for all."""
    config, _ = imported(Golden(names[0]).model)
    potential = build_potential(config)

    def outputs(params, structure):
        derivatives = energy_forces_stress(lambda s: potential.energy_fn(params, s), structure)
        return {
            "charges": potential.charges_fn(params, structure),
            "features": potential.features_fn(params, structure).invariants,
            **derivatives._asdict(),
        }

    goldens, structures, parameters = {}, {}, {}
    for name in names:
        goldens[name] = golden = Golden(name)
        own_config, params = imported(golden.model)
        assert own_config == config, "a group shares one configuration"
        parameters[name] = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        structures[name] = build_structure(
            *golden.geometry,
            cutoff=config.backbone.cutoff,
            k_max=config.electrostatics.k_max,
            dtype=dtype,
        )
    size = merge_sizes([size_of(structure) for structure in structures.values()])
    padded = {name: pad_structure(structures[name], size) for name in names}
    # Optimised code would take twice as long to build and run a few times only.
    options = {"xla_backend_optimization_level": 0}
    compiled = jax.jit(outputs, compiler_options=options)
    return {
        name: (goldens[name], config, jax.device_get(compiled(parameters[name], padded[name])))
        for name in names
    }


def relative_error(value, reference) -> float:
    """Largest deviation in units of the largest number."""
    return float(np.max(np.abs(value - reference)) / np.max(np.abs(reference)))


# Up to half a minute of compiling for one model; two say as much of the import.
QUICK = ("water_v1", "water_r4.5_nu3")
FILES = [
    long_unless(any(word in name for word in QUICK), tuple(group), name)
    for group in GROUPS
    for name in group
]
IDS = [name.split("/")[-1].removeprefix("golden_") for group in GROUPS for name in group]


@pytest.mark.parametrize(("group", "name"), FILES, ids=IDS)
def test_float64(group, name):
    golden, config, out = evaluate_group(group, "float64")[name]
    count = len(golden.forces)
    charges = golden.charges * config.charges.scale / golden.charge_factor
    assert relative_error(out["energy"], golden.energy) < 1e-6
    assert relative_error(out["forces"][:count], golden.forces) < 1e-6
    assert relative_error(out["charges"][:count], charges) < 1e-6
    assert relative_error(out["features"][golden.feature_atoms], golden.features) < 1e-6
    if golden.stress is not None:
        assert relative_error(out["stress"], golden.stress) < 1e-6


@pytest.mark.parametrize(("group", "name"), FILES, ids=IDS)
@pytest.mark.long
def test_float32(group, name):
    golden, config, out = evaluate_group(group, "float32")[name]
    count = len(golden.forces)
    charges = golden.charges * config.charges.scale / golden.charge_factor
    assert out["forces"].dtype == np.float32
    assert np.max(np.abs(out["forces"][:count] - golden.forces)) < 1e-4
    assert abs(out["energy"] - golden.energy) / count < 2e-6
    assert relative_error(out["charges"][:count], charges) < 1e-5


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
    init = partial(build_potential(config).init, dtype="float32")
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
