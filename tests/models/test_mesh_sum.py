"""A model gives the same results with the particle mesh and with the direct sum."""

import jax
import numpy as np
import pytest

import jles
from jles.dynamics.run import run_md
from jles.errors import InputError
from jles.models.config import MomentConfig, ScalarPolarizability, SoftnessConfig
from jles.models.potential import build_potential
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
MULTIPOLES = {
    "dipoles": MomentConfig(hidden=(2,), channels=2),
    "quadrupoles": MomentConfig(hidden=(2,), channels=2),
    "polarizability": ScalarPolarizability(hidden=(2,)),
}
SOFT = {"charge_softness": SoftnessConfig(hidden=(2,))}


def config_of(heads, backbone=None):
    backbone = backbone or small_backbone(body_order=2)
    return small_config(backbone=backbone, **heads)


def summed(config, **how):
    return config.replace(electrostatics=config.electrostatics.replace(**how))


@pytest.fixture(scope="module", params=[MULTIPOLES, SOFT], ids=["multipoles", "soft charges"])
def models(request):
    """The same model, summed directly and on the mesh."""
    config = config_of(request.param)
    params = small_model(config)[1]
    how = {"method": "mesh", "accuracy": ACCURACY}
    return Model(summed(config, method="direct"), params, "float64"), Model(
        summed(config, **how), params, "float64"
    )


def slab():
    atoms = rattled(3)
    atoms.pbc = (True, True, False)
    return atoms


def test_energies_forces_stress_and_responses_of_a_crystal_are_those_of_the_direct_sum(models):
    want = ["energy", "forces", "charges", "born_charges", "energy_parts"]
    want += ["stress", "polarizability"] if models[0].config.polarizability else []
    direct, mesh = (model.predict(rattled(3), want) for model in models)
    assert any("particle mesh" in note for note in mesh.notes)
    assert not any("particle mesh" in note for note in direct.notes)
    long_range = abs(direct.energy_parts["long_range"])
    assert abs(mesh.energy - direct.energy) < 100 * ACCURACY * long_range
    for name in want[1:-1]:
        if name != "energy_parts":
            assert relative(getattr(mesh, name), getattr(direct, name)) < 100 * ACCURACY, name


def test_a_field_acts_alike(models):
    field = (0.02, -0.05, 0.03)
    direct, mesh = (model.predict(rattled(5), ("energy", "forces"), field) for model in models)
    assert relative(mesh.forces, direct.forces) < 100 * ACCURACY


def test_a_slab_may_be_summed_on_the_mesh():
    config = config_of({})
    params = small_model(config)[1]
    direct, mesh = (
        Model(summed(config, method=method, accuracy=ACCURACY), params, "float64").predict(
            slab()
        )
        for method in ("direct", "mesh")
    )
    assert relative(mesh.forces, direct.forces) < 100 * ACCURACY


def test_the_gradient_of_a_force_loss_and_a_mixed_batch():
    config = config_of({})
    params = small_model(config)[1]
    frames = [rattled(1), rattled(2, pbc=False)]

    def losses(method):
        model = Model(summed(config, method=method, accuracy=ACCURACY), params, "float64")
        structures = [model.structure(atoms) for atoms in frames]
        batch = on_device(stack(jax.tree.map(np.asarray, structures)))
        assert batch.plan.method == method
        assert batch.plan.cluster

        def loss(params):
            def of_one(structure):
                _, forces = energy_and_forces(lambda s: model.energy_fn(params, s), structure)
                return (forces**2).sum()

            return jax.vmap(of_one)(batch).sum()

        return jax.jit(jax.grad(loss))(params)

    direct, mesh = losses("direct"), losses("mesh")
    for left, right in zip(jax.tree.leaves(mesh), jax.tree.leaves(direct), strict=True):
        scale = np.max(np.abs(np.asarray(right))) + 1e-6
        assert np.max(np.abs(left - right)) < 1e-5 * scale


def test_a_stored_model_can_be_summed_in_another_way(tmp_path):
    config = config_of({}, small_backbone(l_max=0, body_order=1))
    save_model(tmp_path / "m", config, small_model(config, dtype=np.float32)[1])
    assert jles.load(tmp_path / "m").config.electrostatics.method == "auto"
    how = {"method": "mesh", "accuracy": 1e-5}
    model = jles.load(tmp_path / "m", electrostatics=how)
    assert model.config.electrostatics == config.electrostatics.replace(**how)
    committee = Committee([model, model]).predict(rattled(1))
    assert any("particle mesh" in note for note in committee.mean.notes)
    for wrong, words in (
        ({"sigma": 2.0}, "'sigma' is part of the trained model"),
        ({"metod": "mesh"}, "did you mean 'method'"),
        ({"method": "pme"}, "choose one of"),
        ({"accuracy": 2.0}, "accuracy: expected float < 0.1, got 2.0"),
    ):
        with pytest.raises(InputError, match=words):
            jles.load(tmp_path / "m", electrostatics=wrong)


def test_dynamics_at_constant_pressure_on_the_mesh_follow_the_direct_sum(tmp_path, capfd):
    config = config_of({}, small_backbone(l_max=0, body_order=1))
    params = build_potential(config).init(jax.random.key(0), np.float64)
    ensemble = {"kind": "npt", "temperature": 300.0, "pressure": 0.0, "pressure_unit": "GPa"}
    run = {"steps": 5, "timestep": 0.5, "dtype": "float64", "ensemble": ensemble}
    ends = []
    for method in ("direct", "mesh"):
        model = Model(summed(config, method=method, accuracy=ACCURACY), params, "float64")
        ends.append(run_md(model, rattled(2), run, tmp_path / method))
        assert "long range: " in capfd.readouterr().err
    np.testing.assert_allclose(ends[1].positions, ends[0].positions, atol=1e-6)
    np.testing.assert_allclose(ends[1].cell, ends[0].cell, atol=1e-6)
