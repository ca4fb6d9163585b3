"""All derivatives of a model's enthalpy agree, in crystals and in clusters."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jles.errors import InputError
from jles.models.config import (
    DirectCharges,
    ElectrostaticsConfig,
    MomentConfig,
    ResponseConfig,
    ScreeningConfig,
    SoftnessConfig,
    TensorPolarizability,
)
from jles.models.potential import build_potential
from jles.observables.born_charges import born_charges
from jles.observables.polarizability import polarizability
from jles.predict.model import Model
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import merge_sizes, on_device, pad_structure, size_of
from jles.units import EPSILON0
from tests.support.marks import long
from tests.support.small_systems import (
    TRICLINIC,
    random_orthogonal,
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)

FIELD = np.array([0.03, -0.02, 0.05])
CHARGE = 0.6
HEADS = {
    "dipoles": MomentConfig((4,), 2),
    "quadrupoles": MomentConfig((4,), 2),
    "charge_softness": SoftnessConfig((4,)),
    "polarizability": TensorPolarizability((4,), channels=2),
}


def flowing_config(**changes):
    """Moments of every kind that flow through a message-passing layer."""
    backbone = small_backbone(layers=1, messages=("ar", "bchi"), n_radial_basis=1, body_order=2)
    heads = {name: HEADS[name] for name in ("dipoles", "quadrupoles")}
    return small_config(
        backbone=backbone, charges=CHARGES, electrostatics=SUMS, **heads | changes
    )


def polarizable_config(**changes):
    """Charges that respond to the potential, and dipoles that respond to the field."""
    backbone = small_backbone(n_radial_basis=1, body_order=2)
    heads = {name: HEADS[name] for name in ("charge_softness", "polarizability")}
    values = (
        {"backbone": backbone, "charges": CHARGES, "electrostatics": SUMS} | heads | changes
    )
    return small_config(**values)


CHARGES = DirectCharges(hidden=(4,), total="shift")
SUMS = ElectrostaticsConfig(k_max=2.0)


def derivatives(potential, params):
    """One compiled function of a structure that gives every derivative in every way."""

    # Optimised code would take longer to build than it saves.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def evaluate(structure):
        positions, zero = structure.positions, jnp.zeros(3)

        def at(places):
            return replace(structure, positions=places)

        def coupling(places, field):
            return potential.coupling_fn(params, at(places), field)

        def force(field):
            return -jax.grad(lambda x: potential.enthalpy_fn(params, at(x), field))(positions)

        def enthalpy(field):
            return potential.enthalpy_fn(params, structure, field)

        field = jnp.asarray(FIELD)
        forces = jax.vmap(force)(jnp.stack([field, -field]))
        found = {
            "born": born_charges(coupling, positions),
            # What the polarizability adds is even in the field.
            "force_change": 0.5 * (forces[0] - forces[1]),
            "moments": potential.moments_fn(params, structure),
            "energy": potential.energy_fn(params, structure),
        }
        if potential.config.polarizability is not None:
            found |= {
                "dipole": potential.dipole_fn(params, structure),
                "slopes": jax.vmap(lambda at: -jax.grad(enthalpy)(at))(
                    jnp.stack([zero, field])
                ),
                "polarizability": polarizability(enthalpy, zero),
            }
        return found

    return evaluate


CELL = 0.8 * TRICLINIC
CONFIGS = {"flowing": flowing_config(), "polarizable": polarizable_config()}


def crystal() -> Atoms:
    return rattled(4, count=3, cell=CELL)


@cache
def prepared(name):
    potential, params = small_model(CONFIGS[name], seed=2)
    return potential, params, derivatives(potential, params)


@cache
def results(name, pbc, repeats=1):
    """Structure and derivatives; crystals are padded to two cells, clusters have a charge."""
    potential, _, evaluate = prepared(name)
    structure = structure_of(
        rattled(4, count=3, cell=CELL, pbc=pbc) * (repeats, 1, 1), potential
    )
    if not pbc:
        structure = replace(structure, total_charge=jnp.asarray(CHARGE))
    else:
        size = size_of(structure_of(crystal() * (2, 1, 1), potential))
        size = merge_sizes([size, size_of(structure)])._replace(atoms=6)
        structure = on_device(pad_structure(structure, size))
    out = jax.device_get(evaluate(structure))
    return structure, out


def of_atoms(array, count=3):
    """The array without its padding, which must be zero."""
    assert not np.any(array[count:])
    return array[:count]


@pytest.fixture(scope="module")
def model():
    return prepared("polarizable")


@pytest.fixture(scope="module")
def cluster():
    return results("polarizable", False)


@pytest.fixture(
    scope="module",
    params=[
        long(("flowing", True), id="flowing crystal"),
        long(("polarizable", True), id="polarizable crystal"),
        pytest.param(("polarizable", False), id="polarizable cluster"),
    ],
)
def either(request):
    return results(*request.param)


def test_all_ways_to_born_charges_agree(either):
    _, out = either
    born = out["born"]
    assert np.abs(born).max() > 1e-3
    expected = np.einsum("a,iab->ib", FIELD, born)
    np.testing.assert_allclose(out["force_change"], expected, rtol=0, atol=1e-10)
    of_atoms(born)


RUNGS = [
    (*moments, *responses)
    for moments in ((), ("dipoles",), ("dipoles", "quadrupoles"))
    for responses in (
        (),
        ("charge_softness",),
        ("polarizability",),
        ("charge_softness", "polarizability"),
    )
]


# Compiling every derivative of a crystal whose charges respond to the lattice sum takes long.
@pytest.mark.long
@pytest.mark.parametrize("pbc", [True, False])
@pytest.mark.parametrize("rung", RUNGS, ids="+".join)
def test_every_rung_of_the_hierarchy_agrees_with_itself(rung, pbc):
    """Z* from P is Z* from F, forward is reverse, dH/dE is -P."""
    heads = {name: HEADS[name] for name in rung}
    backbone = small_backbone(n_radial_basis=1, body_order=2)
    config = small_config(backbone=backbone, charges=CHARGES, electrostatics=SUMS, **heads)
    potential, params = small_model(config, seed=3)
    structure = structure_of(rattled(4, count=3, cell=CELL, pbc=pbc), potential)
    coupling = Evaluation(potential, params, structure).coupling

    @jax.jit
    def forward(structure):
        return born_charges(coupling, structure.positions, "forward", chunk=1)

    out = jax.device_get(derivatives(potential, params)(structure))
    expected = np.einsum("a,iab->ib", FIELD, out["born"])
    np.testing.assert_allclose(out["force_change"], expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(forward(structure), out["born"], rtol=0, atol=1e-10)
    if "polarizability" in out:
        np.testing.assert_allclose(out["slopes"][0], out["dipole"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("pbc", [long(True), False])
def test_polarization_is_the_slope_of_the_enthalpy(pbc):
    _, out = results("polarizable", pbc)
    alpha, (slope, in_field) = out["polarizability"], out["slopes"]
    np.testing.assert_allclose(slope, out["dipole"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(in_field, slope + alpha @ FIELD, rtol=0, atol=1e-11)
    np.testing.assert_allclose(alpha, alpha.T, atol=1e-12)
    assert np.linalg.eigvalsh(alpha).min() > 0.0


def test_born_charges_of_a_cluster_are_finite_differences_and_sum_to_its_charge(cluster, model):
    potential, params, _ = model
    structure, out = cluster
    np.testing.assert_allclose(out["born"].sum(axis=0), CHARGE * np.eye(3), atol=1e-10)
    dipole = jax.jit(lambda x: potential.dipole_fn(params, replace(structure, positions=x)))
    step = 1e-5
    moved = structure.positions.at[1, 2].add(step), structure.positions.at[1, 2].add(-step)
    difference = (dipole(moved[0]) - dipole(moved[1])) / (2 * step)
    # The origin of the dipole moves by a third of the step, that of its derivative is fixed.
    difference += CHARGE * np.array([0.0, 0.0, 1.0 / 3.0])
    np.testing.assert_allclose(out["born"][1, :, 2], difference, rtol=1e-6, atol=1e-8)


@pytest.mark.long
@pytest.mark.parametrize("name", CONFIGS)
def test_born_charges_do_not_depend_on_the_supercell(name):
    small = of_atoms(results(name, True)[1]["born"])
    twice = results(name, True, 2)[1]["born"]
    np.testing.assert_allclose(twice.reshape(2, 3, 3, 3), [small, small], rtol=0, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_turns_with_the_crystal(name):
    _, _, evaluate = prepared(name)
    found = results(name, True)
    turn = random_orthogonal(6)
    # The same neighbours in the same slots, so that one compilation serves.
    turned = replace(
        found[0], positions=found[0].positions @ turn, cell=jnp.asarray(found[0].cell @ turn)
    )
    out, old = jax.device_get(evaluate(turned)), found[1]
    np.testing.assert_allclose(out["energy"], old["energy"], rtol=1e-12)
    np.testing.assert_allclose(out["born"], turn.T @ old["born"] @ turn, atol=1e-11)
    if "polarizability" in out:
        expected = turn.T @ old["polarizability"] @ turn
        np.testing.assert_allclose(out["polarizability"], expected, atol=1e-12)
    charges, dipoles, quadrupoles = out["moments"]
    np.testing.assert_allclose(charges, old["moments"].charges, atol=1e-12)
    np.testing.assert_allclose(dipoles, old["moments"].dipoles @ turn, atol=1e-12)
    assert min(np.abs(charges).max(), np.abs(dipoles).max()) > 1e-4
    if quadrupoles is not None:
        expected = turn.T @ old["moments"].quadrupoles @ turn
        np.testing.assert_allclose(quadrupoles, expected, atol=1e-12)
        np.testing.assert_allclose(np.trace(quadrupoles, axis1=1, axis2=2), 0.0, atol=1e-13)
        assert np.abs(quadrupoles).max() > 1e-4


@pytest.mark.long
def test_screening_and_sign_multiply_what_couples_to_a_field(model):
    """Only crystals are screened; the sign is that of the named element or the total charge."""
    config, params = model[0].config, model[1]
    scaled = build_potential(config.replace(screening=ScreeningConfig(2.5, "H")))
    for pbc in (True, False):
        structure, latent = results("polarizable", pbc)
        charges = of_atoms(latent["moments"].charges)
        is_h = structure.numbers[:3] == 1
        sign = np.sign(charges[is_h].mean() - charges[~is_h].mean())
        volume = abs(np.linalg.det(CELL))
        chi = np.trace(latent["polarizability"]) / (3.0 * EPSILON0 * volume)
        size = np.sqrt(2.5 / (1.0 + chi)) if pbc else 1.0
        factor = jax.jit(scaled.factor_fn)
        for total_charge, expected in ((0.0, sign * size), (CHARGE, size)):
            charged = replace(structure, total_charge=jnp.asarray(total_charge))
            np.testing.assert_allclose(factor(params, charged), expected, rtol=1e-12)
        assert sign == -1.0


@pytest.mark.long
def test_the_factor_multiplies_polarization_born_charges_and_field():
    config = small_config(charges=CHARGES)
    params = small_model(config)[1]
    want = ("polarization", "charges", "born_charges", "energy")
    plain = Model(config, params, "float64")
    latent = plain.predict(crystal(), want, field=FIELD * 1.5)
    screening = ScreeningConfig(2.25, "H")
    scaled = Model(config.replace(screening=screening), params, "float64")
    sign = np.sign(latent.charges @ scaled.predict(crystal(), ("charges",)).charges)
    physical = scaled.predict(crystal(), want, field=sign * FIELD)
    np.testing.assert_allclose(physical.polarization, sign * 1.5 * latent.polarization)
    np.testing.assert_allclose(physical.born_charges, sign * 1.5 * latent.born_charges)
    np.testing.assert_allclose(physical.charges, sign * latent.charges)
    np.testing.assert_allclose(physical.energy, latent.energy, rtol=1e-12)
    np.testing.assert_allclose(latent.polarization_quantum, CELL)
    # An atom moved to the next cell carries its charge: the branch is that of the positions.
    moved = crystal()
    moved.positions[0] += CELL[1]
    jump = plain.predict(moved, want, field=FIELD).polarization - latent.polarization
    own = latent.charges[0] - latent.charges.mean()
    np.testing.assert_allclose(jump, own * CELL[1], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "atoms", "want", "words"),
    [
        ({"response": ResponseConfig("self-consistent")}, crystal(), "born_charges", "metal"),
        ({"polarizability": None}, crystal(), "polarizability", "soft charges have none"),
        ({}, crystal(), "dipole", "cluster"),
    ],
)
def test_what_has_no_bulk_meaning_is_refused(model, changes, atoms, want, words):
    config = polarizable_config(**changes)
    params = small_model(config)[1]
    with pytest.raises(InputError, match=words):
        Model(config, params, "float64").predict(atoms, (want,))


def test_a_charged_cell_has_a_note():
    config = small_config(charges=DirectCharges(hidden=(4,), total="shift"))
    ion = crystal()
    ion.info["total_charge"] = 1.0
    out = Model(config, small_model(config)[1], "float64").predict(ion, ("polarization",))
    assert any("origin" in note for note in out.notes)


def test_heads_need_what_carries_them():
    for changes, words in (
        ({"charges": None, "dipoles": HEADS["dipoles"]}, "charges is null"),
        ({"backbone": small_backbone(l_max=1), "quadrupoles": HEADS["quadrupoles"]}, "l_max"),
        (
            {"charges": DirectCharges(channels=2), "polarizability": HEADS["polarizability"]},
            "chann",
        ),
        ({"screening": ScreeningConfig(positive="Na")}, "Na is not among"),
    ):
        with pytest.raises(InputError, match=words):
            small_config(**changes)
    with pytest.raises(InputError, match="expected float >= 1.0, got 0.9"):
        ScreeningConfig(epsilon_infinity=0.9)
