"""Committees: members predict as they do alone; mean, spread and the common sign."""

import copy

import jax
import numpy as np
import pytest
from ase.io import read

from jles.cli.main import main
from jles.errors import InputError, InputWarning
from jles.models.config import DirectCharges, MomentConfig, ScreeningConfig
from jles.models.store import save_model
from jles.predict.committee import Committee
from jles.predict.model import Model
from tests.support.small_systems import (
    rattled,
    small_backbone,
    small_config,
    small_model,
    write_frames,
)

CONFIG = small_config(
    backbone=small_backbone(l_max=1, body_order=1),
    charges=DirectCharges(hidden=(), total="shift", scale=1.0),
    dipoles=MomentConfig(hidden=()),
    element_energies={"H": -13.6, "O": -2041.25},
)
WANT = ("energy", "forces", "charges", "dipoles", "dipole", "born_charges", "energy_parts")
TURNED = {"charges", "dipoles", "dipole", "born_charges"}
FIELD = (0.02, -0.05, 0.03)


def model_of(seed, config=CONFIG, dtype="float64", **options):
    return Model(config, small_model(config, seed)[1], dtype, **{"where": f"m{seed}"} | options)


def flipped(model):
    """The same energies and forces from charges and dipoles of the other sign."""
    params = dict(model.params)
    params["charges"] = jax.tree.map(lambda leaf: -leaf, params["charges"])
    params["dipoles"] = params["dipoles"] | {"mixing": -params["dipoles"]["mixing"]}
    return Model(model.config, params, model.dtype, where="flipped")


@pytest.fixture(scope="module")
def models():
    """Three that share one compiled function."""
    first = model_of(0)
    assert first._evaluate
    others = [copy.copy(first) for _ in range(2)]
    for seed, model in enumerate(others, start=1):
        model.params, model.where = model_of(seed).params, f"m{seed}"
    return [first, *others]


@pytest.fixture(scope="module")
def committee(models):
    return Committee(models)


def of_three(committee, models):
    """A committee of other models that shares the compiled function of `committee`."""
    assert committee._evaluate
    other = copy.copy(committee)
    other.params = Committee(models).params
    return other


@pytest.fixture(scope="module")
def cluster():
    return rattled(0, count=4, pbc=False)


@pytest.fixture(scope="module")
def alone(models, cluster):
    """Predictions of each model for the cluster by itself."""
    return [model.predict(cluster, WANT) for model in models]


def values_of(prediction):
    """Its numbers by name, those of `energy_parts` one by one."""
    values = {name: getattr(prediction, name) for name in WANT}
    return values | values.pop("energy_parts")


def assert_equal(prediction, expected, atol=1e-10):
    for name, value in values_of(prediction).items():
        np.testing.assert_allclose(value, values_of(expected)[name], atol=atol, err_msg=name)


def test_members_say_what_they_say_alone(committee, alone, cluster):
    """With the sign of the first where the charges of a member are against it."""
    out = committee.predict(cluster, WANT)
    signs = [np.sign(one.charges @ alone[0].charges) for one in alone]
    assert -1.0 in signs  # else there is nothing to see
    for sign, member, one in zip(signs, out.members, alone, strict=True):
        for name, value in values_of(one).items():
            turn = sign if name in TURNED else 1.0
            np.testing.assert_allclose(values_of(member)[name], turn * value, atol=1e-10)


def test_mean_and_spread_are_those_of_the_members(committee, cluster):
    out = committee.predict(cluster, WANT)
    assert isinstance(out.mean.energy, float)
    members = [values_of(member) for member in out.members]
    for name, mean in values_of(out.mean).items():
        expected = np.array([member[name] for member in members])
        np.testing.assert_allclose(mean, expected.mean(axis=0), atol=1e-10)
        spread = values_of(out.spread)[name]
        np.testing.assert_allclose(spread, expected.std(axis=0, ddof=1), atol=1e-10)
    assert np.all(out.spread.forces > 0.0)
    assert out.spread.acoustic_sum.shape == (3, 3)


def test_structures_of_a_similar_size_share_one_compilation(committee, cluster):
    committee.predict(cluster, WANT)
    before = committee._evaluate._cache_size()
    for seed in (5, 6):
        committee.predict(rattled(seed, count=4, pbc=False), WANT)
    assert committee._evaluate._cache_size() == before


def test_a_committee_of_one_is_the_model(models, alone, cluster):
    out = Committee(models[:1]).predict(cluster, ("energy", "charges"))
    np.testing.assert_allclose(out.mean.energy, alone[0].energy, rtol=1e-12)
    np.testing.assert_allclose(out.mean.charges, alone[0].charges, atol=1e-10)
    assert out.spread.energy == 0.0
    assert not np.any(out.spread.charges)


def test_the_same_member_twice_is_named(models):
    with pytest.warns(InputWarning, match="m0 and m0 have the same parameters") as seen:
        Committee([*models, models[0]])
    assert len(seen) == 1


def test_members_that_agree_have_no_spread_at_all(committee, models, alone, cluster):
    with pytest.warns(InputWarning, match="same parameters"):
        alike = of_three(committee, models[:1] * 3)
    out = alike.predict(cluster, WANT)
    assert_equal(out.mean, alone[0])
    assert all(np.all(value == 0.0) for value in values_of(out.spread).values())


def test_the_sign_of_the_charges_of_a_member_does_not_matter(committee, models, cluster):
    """In a field as well, where it matters for the energy of a model by itself."""
    other = of_three(committee, [models[0], flipped(models[1]), flipped(models[2])])
    expected, out = (asked.predict(cluster, WANT) for asked in (committee, other))
    assert_equal(out.mean, expected.mean)
    assert_equal(out.spread, expected.spread)
    for asked in (committee, other):
        inside = asked.predict(cluster, ("energy", "forces"), field=FIELD)
        for member, free in zip(inside.members, expected.members, strict=True):
            moved = member.energy - free.energy
            np.testing.assert_allclose(moved, -np.dot(FIELD, free.dipole), atol=1e-10)
            push = np.einsum("a,iab->ib", FIELD, free.born_charges)
            np.testing.assert_allclose(member.forces - free.forces, push, atol=1e-10)


def test_a_total_charge_says_which_sign_is_which(committee, models, cluster):
    ion = cluster.copy()
    ion.info["total_charge"] = 1e-3  # too little to turn the charges of a member
    members = committee.predict(ion, WANT).members
    charges = [model.predict(ion, WANT).charges for model in models]
    assert min(charges[0] @ other for other in charges) < 0.0
    for member, expected in zip(members, charges, strict=True):
        np.testing.assert_allclose(member.charges, expected, atol=1e-10)


def test_a_crystal_keeps_the_branch_of_its_polarization(committee, models):
    """An atom moved by a lattice vector changes each polarization by the atom's charge."""
    start = rattled(3, count=4)
    moved = start.copy()
    moved.positions[1] += start.cell[0]
    want = ("energy", "charges", "polarization")
    before, after = (committee.predict(atoms, want) for atoms in (start, moved))
    alone = models[0].predict(start, want)
    for name in want:
        np.testing.assert_allclose(
            getattr(before.members[0], name), getattr(alone, name), atol=1e-10
        )
    for one, other in zip(before.members, after.members, strict=True):
        step = other.polarization - one.polarization
        np.testing.assert_allclose(step, one.charges[1] * start.cell[0], atol=1e-9)


def test_the_calculator_gives_means_and_keeps_spreads(committee, cluster):
    atoms = cluster.copy()
    atoms.calc = committee.calculator()
    out = committee.predict(cluster, WANT)
    np.testing.assert_allclose(atoms.get_potential_energy(), out.mean.energy, rtol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), out.mean.forces, atol=1e-10)
    results = atoms.calc.results
    np.testing.assert_allclose(results["energy_spread"], out.spread.energy, atol=1e-10)
    np.testing.assert_allclose(results["forces_spread"], out.spread.forces, atol=1e-10)


def test_committees_that_cannot_be_are_refused_in_words(models):
    wider = model_of(
        7, small_config(backbone=small_backbone(l_max=1, body_order=1, cutoff=3.5))
    )
    with pytest.raises(
        InputError, match=r"m7 is no member .* m0: backbone.cutoff is 3.5, not 3.0"
    ):
        Committee([models[0], wider])
    with pytest.raises(InputError, match="m8 is float32, m0 float64"):
        Committee([models[0], model_of(8, dtype="float32")])
    other = model_of(9, training={"label_keys": {"total_charge": "Q"}})
    with pytest.raises(InputError, match="label_keys.total_charge is Q, not None"):
        Committee([models[0], other])
    with pytest.raises(InputError, match="at least one model"):
        Committee([])


def test_a_known_sign_is_left_alone():
    config = small_config(
        backbone=small_backbone(l_max=0, body_order=1),
        charges=DirectCharges(hidden=()),
        screening=ScreeningConfig(positive="H"),
    )
    atoms = rattled(1, count=4, pbc=False)
    committee = Committee([model_of(seed, config) for seed in range(4)])
    hydrogen = atoms.symbols == "H"
    for member in committee.predict(atoms, ("charges",)).members:
        assert member.charges[hydrogen].mean() > member.charges[~hydrogen].mean()


@pytest.fixture(scope="module")
def folders(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("members")
    for number, model in enumerate(models):
        save_model(root / str(number), model.config, model.params)
    return [str(root / str(number)) for number in range(len(models))]


def test_predict_writes_means_and_spreads(folders, committee, cluster, tmp_path):
    first, *others = folders
    path = tmp_path / "out.xyz"
    start = write_frames(tmp_path / "in.xyz", [cluster])
    options = ("--born-charges", "--dtype", "float64", "--committee", *others)
    assert main(["predict", first, start, "-o", str(path), *options]) == 0
    atoms, out = read(path), committee.predict(cluster, WANT)
    np.testing.assert_allclose(atoms.get_potential_energy(), out.mean.energy, rtol=1e-10)
    np.testing.assert_allclose(atoms.info["energy_spread"], out.spread.energy, rtol=1e-6)
    np.testing.assert_allclose(atoms.info["dipole_spread"], out.spread.dipole, atol=1e-6)
    for name, expected in (
        ("forces_spread", out.spread.forces),
        ("latent_charges_spread", out.spread.charges),
        ("bec", out.mean.born_charges.reshape(4, 9)),
        ("bec_spread", out.spread.born_charges.reshape(4, 9)),
    ):
        np.testing.assert_allclose(atoms.arrays[name], expected, atol=1e-6)


def test_predict_names_the_model_and_the_key_that_differ(folders, cluster, tmp_path, capsys):
    config = small_config()
    save_model(tmp_path / "other", config, small_model(config)[1])
    start = write_frames(tmp_path / "in.xyz", [cluster])
    others = ("--committee", str(tmp_path / "other"))
    assert main(["predict", folders[0], start, "-o", str(tmp_path / "out.xyz"), *others]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "other is no member of a committee" in line
    assert "backbone.l_max is 2, not 1" in line
    assert not (tmp_path / "out.xyz").exists()
