"""A model gives the same results with the particle mesh and with the direct sum."""

import jax
import numpy as np
import pytest

import jles
from jles.dynamics.run import run_md
from jles.errors import InputError, InputWarning
from jles.models.config import (
    DirectCharges,
    MomentConfig,
    ScalarPolarizability,
    SoftnessConfig,
)
from jles.models.store import save_model
from jles.observables.stress import energy_and_forces
from jles.predict.committee import Committee
from jles.predict.model import Model
from jles.structures.batch import on_device, stack
from tests.support.small_systems import (
    rattled,
    relative,
    small_backbone,
    small_config,
    small_model,
)

ACCURACY = 1e-8
TINY = small_backbone(l_max=0, body_order=1)
MULTIPOLES = small_config(
    backbone=small_backbone(n_rbf=2, n_atom_basis=1, body_order=2),
    charges=DirectCharges(hidden=()),
    dipoles=MomentConfig(hidden=()),
    quadrupoles=MomentConfig(hidden=()),
    polarizability=ScalarPolarizability(hidden=()),
)
CHARGES = small_config(backbone=TINY, charges=DirectCharges(hidden=()))
SOFT = CHARGES.replace(charge_softness=SoftnessConfig(hidden=()))


def summed(config, **how):
    return config.replace(electrostatics=config.electrostatics.replace(**how))


def both_sums(config):
    """The same model, summed directly and on the mesh."""
    params = small_model(config)[1]
    return [
        Model(summed(config, method=method, accuracy=ACCURACY), params, "float64")
        for method in ("direct", "mesh")
    ]


def assert_alike(direct, mesh, names):
    for name in names:
        assert relative(getattr(mesh, name), getattr(direct, name)) < 100 * ACCURACY, name
    long_range = abs(direct.energy_parts["long_range"])
    assert abs(mesh.energy - direct.energy) < 100 * ACCURACY * long_range


def slab():
    atoms = rattled(3)
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.long
def test_energies_forces_stress_and_responses_of_a_crystal_are_those_of_the_direct_sum():
    names = ["forces", "stress", "dipoles", "polarization", "polarizability"]
    direct, mesh = (
        model.predict(rattled(3), [*names, "energy", "energy_parts"])
        for model in both_sums(MULTIPOLES)
    )
    assert any("particle mesh" in note for note in mesh.notes)
    assert not any("particle mesh" in note for note in direct.notes)
    assert_alike(direct, mesh, names)


@pytest.mark.long
def test_soft_charges_in_a_field_are_those_of_the_direct_sum():
    """Their forces contain E . Z*, and so the Born charges."""
    names, field = ["forces", "charges"], (0.02, -0.05, 0.03)
    direct, mesh = (
        model.predict(rattled(5), [*names, "energy", "energy_parts"], field)
        for model in both_sums(SOFT)
    )
    assert_alike(direct, mesh, names)


def test_a_slab_may_be_summed_on_the_mesh():
    direct, mesh = (model.predict(slab()) for model in both_sums(CHARGES))
    assert relative(mesh.forces, direct.forces) < 100 * ACCURACY


def test_the_gradient_of_a_force_loss_and_a_mixed_batch():
    frames = [rattled(1), rattled(2, pbc=False)]

    def losses(model):
        structures = [model.structure(atoms) for atoms in frames]
        batch = on_device(stack(jax.tree.map(np.asarray, structures)))
        assert batch.plan.method == model.config.electrostatics.method
        assert batch.plan.cluster

        def loss(params):
            def of_one(structure):
                _, forces = energy_and_forces(lambda s: model.energy_fn(params, s), structure)
                return (forces**2).sum()

            return jax.vmap(of_one)(batch).sum()

        return jax.jit(jax.grad(loss))(model.params)

    direct, mesh = map(losses, both_sums(CHARGES))
    for left, right in zip(jax.tree.leaves(mesh), jax.tree.leaves(direct), strict=True):
        scale = np.max(np.abs(np.asarray(right))) + 1e-6
        assert np.max(np.abs(left - right)) < 1e-5 * scale


@pytest.mark.long
def test_a_stored_model_can_be_summed_in_another_way(tmp_path):
    config = CHARGES
    save_model(tmp_path / "m", config, small_model(config, dtype=np.float32)[1])
    assert jles.load(tmp_path / "m").config.electrostatics.method == "auto"
    how = {"method": "mesh", "accuracy": 1e-5}
    model = jles.load(tmp_path / "m", electrostatics=how)
    assert model.config.electrostatics == config.electrostatics.replace(**how)
    with pytest.warns(InputWarning, match="same parameters"):
        committee = Committee([model, model])
    committee = committee.predict(rattled(1))
    assert any("particle mesh" in note for note in committee.mean.notes)
    for wrong, words in (
        ({"sigma": 2.0}, "'sigma' is part of the trained model"),
        ({"metod": "mesh"}, "did you mean 'method'"),
        ({"method": "pme"}, "choose one of"),
        ({"accuracy": 2.0}, "accuracy: expected float < 0.1, got 2.0"),
    ):
        with pytest.raises(InputError, match=words):
            jles.load(tmp_path / "m", electrostatics=wrong)


@pytest.mark.long
def test_dynamics_at_constant_pressure_on_the_mesh_follow_the_direct_sum(tmp_path, capfd):
    ensemble = {"kind": "npt", "temperature": 300.0, "pressure": 0.0, "pressure_unit": "GPa"}
    run = {"steps": 5, "timestep": 0.5, "dtype": "float64", "ensemble": ensemble}
    # Without records of the energy, which would be compiled too.
    run["record"] = {"thermo": 0}
    ends = []
    for model in both_sums(CHARGES):
        out = tmp_path / model.config.electrostatics.method
        ends.append(run_md(model, rattled(2), run, out))
        assert "long range: " in capfd.readouterr().err
    np.testing.assert_allclose(ends[1].positions, ends[0].positions, atol=1e-6)
    np.testing.assert_allclose(ends[1].cell, ends[0].cell, atol=1e-6)
