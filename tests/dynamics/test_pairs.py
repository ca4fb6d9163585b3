"""Integrators of jax-md, unchanged, driven by the engine."""

import numpy as np
import pytest
from ase.build import bulk
from jax_md import simulate, space

from jles.dynamics.config import RecordConfig
from jles.dynamics.engine import Engine
from jles.dynamics.pairs import from_pair
from jles.dynamics.records import build_recorders
from jles.dynamics.start import draw_momenta
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND
from jles.jax_md.chains import chain_energy
from tests.support.dynamics_systems import NVE, begin, engine_of, liquid, run, values

RECORDS = RecordConfig(thermo=1, positions=1)
SHIFT = space.free()[1]
DT, KT = 2.0 * FEMTOSECOND, 300.0 * BOLTZMANN


@pytest.fixture(scope="module")
def atoms():
    crystal = bulk("Ar", "fcc", a=3.5, cubic=True) * 2
    crystal.rattle(0.05, seed=0)
    return crystal


def driven(atoms, make, **options):
    """Outcome of 60 steps with a pair, the neighbours searched again on the way."""
    engine = engine_of(liquid(atoms, skin=0.2), NVE, 2.0, RECORDS)
    if make is not None:
        plan = engine.plan
        integrator = from_pair(make, plan.masses, **options)
        recorders = build_recorders(RECORDS, plan.system, integrator, plan.masses)
        plan = plan._replace(integrator=integrator, recorders=recorders)
        engine = Engine(plan, engine.forcing._replace(kT=engine.forcing.kT + KT))
    momenta = draw_momenta(atoms.get_masses(), 600.0, 0)
    outcome = run(engine, begin(engine, atoms.positions, momenta), 60)
    assert outcome.state.rebuilt_at > 0
    return outcome


def test_nve_of_jax_md_makes_the_steps_of_the_engine(atoms):
    theirs = driven(atoms, lambda force_fn: simulate.nve(force_fn, SHIFT, DT))
    ours = driven(atoms, None)
    np.testing.assert_allclose(
        values(theirs, "positions"), values(ours, "positions"), atol=1e-12
    )


def test_a_thermostat_of_jax_md_conserves_the_energy_with_its_bath(atoms):
    outcome = driven(
        atoms,
        lambda force_fn: simulate.nvt_nose_hoover(force_fn, SHIFT, DT, KT, tau=50.0 * DT),
        bath_energy=lambda state, kT: chain_energy(state.chain, kT),
    )
    conserved, kinetic = (
        values(outcome, "thermo", name) for name in ("conserved", "kinetic_energy")
    )
    assert np.ptp(conserved) < 0.02 * np.ptp(kinetic)
