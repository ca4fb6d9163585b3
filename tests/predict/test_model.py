"""A model in use: predictions and the number of compilations."""

import copy
from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

import jles
from jles.electrostatics.plan import SumPlan
from jles.errors import InputError, InputWarning
from jles.models.backbones.cace import n_features
from jles.models.config import (
    DirectCharges,
    EquilibratedCharges,
    ResponseConfig,
    ScreeningConfig,
)
from jles.models.store import save_model
from jles.predict import predictor
from jles.predict.collect import collect
from jles.predict.model import Model
from jles.quantities.catalogue import QUANTITIES
from jles.structures.batch import size_of
from jles.structures.sizes import cost_of, round_up_size
from tests.support.small_systems import (
    TRICLINIC,
    rattled,
    relative,
    small_backbone,
    small_config,
    small_model,
)

ENERGIES = {"H": -13.6, "O": -2041.25}
CONFIG = small_config(
    backbone=small_backbone(l_max=1, body_order=2),
    charges=DirectCharges(hidden=(4,), total="shift"),
    element_energies=ENERGIES,
)


def model_of(config, dtype="float64", seed=0, **options):
    return Model(config, small_model(config, seed)[1], dtype, where="runs/test", **options)


@pytest.fixture(scope="module")
def model():
    return model_of(CONFIG)


@pytest.fixture(scope="module")
def coarse():
    return model_of(CONFIG, "float32")


# What this model has of every structure; Born charges are in test_response_model.py.
WITHOUT = {
    "stress", "dipole", "quadrupole", "dipoles", "quadrupoles", "polarizability",
    "born_charges", "piezoelectric", "polarizability_derivative",
}  # fmt: skip
EVERYTHING = [name for name in QUANTITIES if name not in WITHOUT]


@pytest.mark.parametrize(
    ("atoms", "extra"), [(rattled(0), "stress"), (rattled(1, pbc=False), "dipole")]
)
def test_a_prediction_holds_what_was_wanted_and_nothing_else(model, atoms, extra):
    out = model.predict(atoms, want=(*EVERYTHING, extra))
    given = {name for name in QUANTITIES if getattr(out, name) is not None}
    assert given == {*EVERYTHING, extra}
    assert isinstance(out.energy, float)
    shapes = {
        "forces": (6, 3),
        "charges": (6,),
        "features": (6, n_features(CONFIG.backbone)),
        "stress": (3, 3),
        "dipole": (3,),
    }
    for name in given & set(shapes):
        value = getattr(out, name)
        assert isinstance(value, np.ndarray)
        assert value.shape == shapes[name]
        assert np.isfinite(value).all()
    parts = out.energy_parts
    assert set(parts) == {"short_range", "long_range", "elements"}
    assert parts["elements"] == 3 * ENERGIES["H"] + 3 * ENERGIES["O"]
    np.testing.assert_allclose(sum(parts.values()), out.energy, rtol=1e-14)
    default = model.predict(atoms)
    assert default.charges is None
    np.testing.assert_allclose(default.energy, out.energy, rtol=1e-14)
    np.testing.assert_allclose(default.forces, out.forces, rtol=1e-10, atol=1e-12)


def test_element_energies_keep_float64_digits_in_a_float32_model(coarse):
    shifted = copy.copy(coarse)
    shifted.config = CONFIG.replace(element_energies={"H": ENERGIES["H"] + 1e-9})
    atoms = rattled(0, count=5)
    difference = coarse.predict(atoms).energy - shifted.predict(atoms).energy
    np.testing.assert_allclose(difference, 2 * ENERGIES["O"] - 3e-9, rtol=1e-14)


def test_a_list_gives_a_list(model):
    frames = [rattled(0), rattled(1, count=4, pbc=False)]
    found = model.predict(frames)
    for atoms, out in zip(frames, found, strict=True):
        alone = model.predict(atoms)
        # A list is padded to sizes of its own: the same sums in another order.
        np.testing.assert_allclose(out.energy, alone.energy, rtol=1e-13)
        np.testing.assert_allclose(out.forces, alone.forces, rtol=0, atol=1e-12)
    assert model.predict([]) == []


def test_float32_and_float64_agree(model, coarse):
    atoms, want = rattled(0), (*EVERYTHING, "stress")
    fine, rough = model.predict(atoms, want), coarse.predict(atoms, want)
    np.testing.assert_allclose(rough.energy, fine.energy, atol=1e-4)
    for name in ("forces", "stress", "charges", "features"):
        assert 1e-10 < relative(getattr(rough, name), getattr(fine, name)) < 1e-4
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(coarse.params))


def test_float64_needs_no_switch_and_leaves_none_behind(model):
    """A model computes in its own precision, whatever that of JAX."""
    expected = model.predict(rattled(3)).forces
    with jax.enable_x64(False):
        found = model.predict(rattled(3)).forces
        assert not jax.config.jax_enable_x64
    np.testing.assert_array_equal(found, expected)
    assert jax.config.jax_enable_x64


@pytest.mark.long
def test_several_channels_are_several_columns():
    model = model_of(CONFIG.replace(charges=DirectCharges(hidden=(), channels=3)))
    atoms = rattled(0)
    atoms.calc = model.calculator()
    summed = atoms.get_charges()
    columns = model.predict(atoms, want=("energy", "forces", "charges")).charges
    assert columns.shape == (6, 3)
    np.testing.assert_allclose(summed, columns.sum(axis=1))


def test_the_total_charge_is_obeyed(model):
    atoms = rattled(4)
    for total in (0.0, -2.0):
        atoms.info["total_charge"] = total
        charges = model.predict(atoms, want=(*EVERYTHING, "stress")).charges
        np.testing.assert_allclose(charges.sum(), total, atol=1e-12)


def test_a_model_without_charges_predicts_energies_only():
    config = CONFIG.replace(charges=None)
    model = model_of(config)
    slab = rattled(0)
    slab.pbc = (True, True, False)
    out = model.predict(slab, want=("forces", "energy_parts"))
    assert out.energy_parts["long_range"] == 0.0
    assert np.isfinite(out.forces).all()
    for name in ("charges", "dipole"):
        with pytest.raises(InputError, match="latent charges"):
            model.predict(rattled(0, pbc=False), want=(name,))


@pytest.mark.parametrize(
    ("atoms", "want", "words"),
    [
        (rattled(0), ("energi",), ["energi", "energy, forces"]),
        (rattled(0), "energy", ["sequence"]),
        (rattled(0), ("polarizability",), ["polarizability", "head 'polarizability'"]),
        (rattled(0), ("dipoles",), ["dipoles", "head 'dipoles'"]),
        (rattled(0), ("quadrupoles",), ["quadrupoles", "head 'quadrupoles'"]),
        (rattled(0, pbc=False), ("stress",), ["stress", "not periodic"]),
        (Atoms("H", cell=[4, 4, 0], pbc=[1, 1, 0]), ("stress",), ["stress", "per volume"]),
        (rattled(0), ("dipole",), ["dipole", "cluster"]),
        (rattled(0, pbc=[1, 1, 0]), ("piezoelectric",), ["piezoelectric", "three directions"]),
        (Atoms("NaH", [[0, 0, 0], [0, 0, 2]]), ("energy",), ["runs/test", "Na", "H, O"]),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), ("energy",), ["same spot"]),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), ("energy",), ["atom 1", "finite"]),
        (Atoms("H", pbc=True), ("energy",), ["volume"]),
        (Atoms(), ("energy",), ["at least one atom"]),
        (Atoms("H", cell=[4, 4, 9], pbc=[0, 1, 0]), ("energy",), ["one direction only"]),
    ],
)
def test_what_cannot_be_predicted_is_said_in_words(model, atoms, want, words):
    with pytest.raises(InputError) as caught:
        model.predict(atoms, want=want)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "its parameters are damaged"),
        ({"response": ResponseConfig("self-consistent")}, "response did not converge"),
        ({"charges": EquilibratedCharges()}, "equilibration of the charges did not converge"),
    ],
)
def test_a_result_that_is_no_number_is_refused(changes, words):
    forces = np.zeros((8, 3))
    forces[4, 1] = np.nan
    options = {"born_mode": "exact", "sum_rule": False, "total_charge": 0.0}
    with pytest.raises(InputError, match=f"'forces' of atom 4 is not .*{words}"):
        collect(
            CONFIG.replace(**changes),
            {"forces": forces},
            atoms=rattled(0),
            places=rattled(0).positions,
            plan=SumPlan(),
            want=("forces",),
            field=None,
            **options,
        )


def test_a_field_that_is_none_and_another_precision_are_refused(model):
    for call, words in (
        (lambda: model.predict(rattled(0), field=(0, 1)), "three finite"),
        (lambda: model.predict(rattled(0), field=(0, 0, np.nan)), "three finite"),
        (lambda: model.predict(rattled(0), field="5 kV/cm"), "three finite"),
        (lambda: model.calculator(field=(0, 0, 500.0)), "kV/cm"),
        (lambda: model_of(CONFIG, "float16"), "dtype"),
    ):
        with pytest.raises(InputError, match=words):
            call()


def test_what_is_no_structure_and_no_path_is_refused(model):
    for value, words in ((None, "NoneType, not ase.Atoms"), ("in.xyz", "ase.io.read")):
        for call in (model.predict, model.structure):
            with pytest.raises(InputError, match=words):
                call(value)
    with pytest.raises(InputError, match="list, not ase.Atoms"):
        model.predict([[rattled(0)]])
    with pytest.raises(InputError, match="NoneType, not the path"):
        jles.load(None)


def test_screening_is_given_as_a_dict_or_as_a_configuration(tmp_path):
    save_model(tmp_path / "m", CONFIG, small_model(CONFIG, dtype=np.float32)[1])
    for value in ({"epsilon_infinity": 4.0, "positive": "H"}, ScreeningConfig(4.0, "H")):
        screening = jles.load(tmp_path / "m", screening=value).config.screening
        assert screening == ScreeningConfig(4.0, "H")
    with pytest.raises(InputError, match="screening: unknown key 'epsilon'"):
        jles.load(tmp_path / "m", screening={"epsilon": 4.0})


def test_a_structure_far_from_the_training_data_is_named_once():
    distances = {"shortest": {"H-H": 0.7, "H-O": 0.9, "O-O": 2.2}, "sparsest": 1.1}
    model = model_of(CONFIG, training={"distances": distances})
    close = Atoms("OH", [[0, 0, 0], [0, 0, 0.5]])
    model.structure(Atoms("OH", [[0, 0, 0], [0, 0, 1.0]]))
    told = r"first: the H-O distance of atoms 0 and 1 is 0.5 .*at least 0.9"
    with pytest.warns(InputWarning, match=told) as seen:
        model.plan([close, close], ["first", "second"])
    assert len(seen) == 1
    model.structure(close)


def test_an_element_without_training_data_is_named_once():
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])
    model = model_of(CONFIG, training={"trained_elements": ["H"]})
    model.structure(hydroxide[1:])
    told = "first: the training data of .* do not contain O "
    with pytest.warns(InputWarning, match=told) as seen:
        model.plan([hydroxide, hydroxide], ["first", "second"])
    assert len(seen) == 1
    model.structure(hydroxide)
    model_of(CONFIG, training={"trained_elements": ["H", "O"]}).structure(hydroxide)


def test_an_imported_model_warns_of_positions_in_bohr():
    """It has no record of distances; a model made in Python may be of anything."""
    imported = model_of(CONFIG, training={"imported_from": "mace.model"})
    molecule = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]])
    imported.structure(molecule)
    in_bohr = Atoms("O2", molecule.positions / 0.529177)
    model_of(CONFIG).structure(in_bohr)
    with pytest.warns(InputWarning, match=r"at 1\.72 times .* covalent radii: .* bohr"):
        imported.structure(in_bohr)
    imported.structure(in_bohr)


def test_a_crystal_without_pbc_is_named_and_a_molecule_in_a_box_is_not(model):
    """The box leaves 8 angstrom to the next image, the cutoff is shorter."""
    molecule = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]])
    molecule.center(vacuum=4.0)
    model.structure(molecule)
    crystal = rattled(0)
    crystal.pbc = False
    with pytest.warns(InputWarning, match="first: there is a cell but pbc F F F") as seen:
        model.plan([crystal, crystal], ["first", "second"])
    assert len(seen) == 1


def counting(config):
    """A model that counts how often its energy is traced."""
    model = model_of(config)
    traces = []
    inner = model.potential.energy_fn

    def counted(params, structure):
        traces.append(structure.positions.shape)
        return inner(params, structure)

    model.potential.energy_fn = counted
    return model, traces


def test_molecular_dynamics_conserves_energy_and_compiles_once():
    """The drift is a quarter at half the timestep: forces are those of the energy."""
    model, traces = counting(CONFIG)
    start = rattled(9, count=8, cell=1.15 * TRICLINIC)
    momenta = np.random.default_rng(0).normal(size=(8, 3))
    neighbors, drift = set(), {}
    for step in (0.4, 0.2):
        atoms = start.copy()
        atoms.calc = model.calculator()
        atoms.set_momenta(momenta)
        dynamics = VelocityVerlet(atoms, timestep=step * units.fs)
        total, kinetic = [], []
        for _ in range(round(8 / step)):
            dynamics.run(1)
            total.append(atoms.get_total_energy())
            kinetic.append(atoms.get_kinetic_energy())
            neighbors.add(int(model.structure(atoms).neighbor_mask.sum()))
        drift[step] = np.ptp(total)
    assert drift[0.2] < 0.4 * drift[0.4]
    assert drift[0.2] < 0.01 * np.ptp(kinetic)
    assert len(neighbors) > 1
    assert len(traces) == 1
    assert model._evaluate._cache_size() == 1


def test_structures_of_a_similar_size_share_a_compilation():
    model, traces = counting(CONFIG)
    model.predict(rattled(0, count=8))
    first = len(traces)
    for seed, count in ((1, 8), (2, 7), (3, 8)):
        model.predict(rattled(seed, count=count))
    assert len(traces) == first
    for atoms in (rattled(4, pbc=False), rattled(5, count=24, cell=2 * np.eye(3) * 5)):
        before = len(traces)
        model.predict(atoms)
        assert len(traces) > before
        model.predict(atoms)
    assert model._evaluate._cache_size() == 3


def sizes_for(model, all_atoms):
    return [model._size_for(size_of(model._bare(atoms))) for atoms in all_atoms]


def test_structures_of_many_sizes_need_few_compilations():
    crystals = [
        rattled(n, count=n, cell=n ** (1 / 3) * 2.3 * np.eye(3)) for n in range(4, 64, 4)
    ]
    for order in (1, -1):
        model = model_of(CONFIG)
        assert len(set(sizes_for(model, crystals[::order]))) <= 5


def test_a_structure_that_is_predicted_often_gets_a_size_of_its_own(monkeypatch):
    """Padding is accepted while the work on it is less than that of a compilation."""
    model, large, small = model_of(CONFIG), rattled(0, count=24), rattled(1, count=4)
    (padded,) = sizes_for(model, [large])
    need = size_of(model._bare(small))
    own = round_up_size(need._replace(neighbors=need.neighbors + need.neighbors // 8 + 2))
    monkeypatch.setattr(predictor, "COMPILATION", 5.5 * (cost_of(padded) - cost_of(own)))
    assert sizes_for(model, [small] * 9) == [padded] * 5 + [own] * 4
    assert sizes_for(model, [large]) == [padded]


def test_the_pure_functions_work_outside(model):
    """The energy function that a jax-md user passes to an integrator."""
    atoms = rattled(1)
    structure = model.structure(atoms)
    energy, gradient = jax.jit(
        jax.value_and_grad(
            lambda positions: model.energy_fn(
                model.params, replace(structure, positions=positions)
            )
        )
    )(structure.positions)
    out = model.predict(atoms, want=(*EVERYTHING, "stress"))
    short, long = out.energy_parts["short_range"], out.energy_parts["long_range"]
    np.testing.assert_allclose(energy, short + long, rtol=1e-12)
    np.testing.assert_allclose(-gradient[:6], out.forces, atol=1e-10)
