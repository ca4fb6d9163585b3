"""Ranks together give what one evaluation of the whole gives; ranks are threads here."""

import numpy as np
import pytest

from jles.errors import InputError
from jles.lammps.driver import on_each
from jles.lammps.exchange import add_ghost_forces, plan_exchange, unique_atoms
from jles.lammps.force_field import Failed, ForceField, RankInput
from jles.models.config import (
    FlowCharges,
    MomentConfig,
    ScalarPolarizability,
    SoftnessConfig,
)
from jles.predict.model import Model
from tests.support.small_systems import rattled, small_backbone, small_config, small_model
from tests.support.thread_ranks import on_ranks

CELL = np.array([[9.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.4, -0.8, 6.2]])
SMALL = {"l_max": 0, "body_order": 1}
CONFIGS = {
    "messages": small_config(
        backbone=small_backbone(layers=1, messages=("ar",), **SMALL),
        element_energies={"H": -1.5, "O": -3.25},
    ),
    "charge flow": small_config(
        backbone=small_backbone(**SMALL), charges=FlowCharges(hidden=(), flow_width=2)
    ),
    "dipoles, one-shot response": small_config(
        backbone=small_backbone(l_max=1, body_order=1),
        dipoles=MomentConfig(hidden=(3,), channels=1),
        charge_softness=SoftnessConfig(hidden=()),
        polarizability=ScalarPolarizability(hidden=()),
    ),
}
SHORT_RANGE = small_config(backbone=small_backbone(**SMALL), charges=None)


def model_of(config, dtype="float64"):
    return Model(config, small_model(config)[1], dtype)


def given(atoms, owner, rank):
    """What LAMMPS gives a rank that has all other atoms as ghosts, in two images."""
    own = np.flatnonzero(owner == rank)
    others = np.setdiff1d(np.arange(len(atoms)), own)
    places = np.concatenate([own, others, others])
    positions = atoms.positions[places]
    positions[len(atoms) :] += atoms.cell.array[0]
    return RankInput(
        tags=3 * places + 1,
        numbers=atoms.numbers[places],
        positions=positions,
        own=len(own),
        cell=atoms.cell.array,
        periodic=(True, True, True),
        total=len(atoms),
        relisted=True,
    )


def together(comm, force_field, atoms, owner):
    """Energy, forces on all atoms, stress and charges, from one rank's side."""
    rank = comm.Get_rank()
    out = force_field(given(atoms, owner, rank))
    forces, charges = np.zeros((len(atoms), 3)), np.zeros(len(atoms))
    forces[owner == rank], charges[owner == rank] = out.forces, out.charges
    stress = -out.virial / atoms.get_volume()
    return out.energy, sum(comm.allgather(forces)), stress, sum(comm.allgather(charges))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.long] * (n == "charge flow")) for n in CONFIGS],
)
def test_ranks_together_equal_the_whole(name):
    """On two ranks, and after atoms have moved between them."""
    model = model_of(CONFIGS[name])
    frames = [rattled(seed, count=24, cell=CELL) for seed in (3, 4)]
    halves = [(atoms.get_scaled_positions()[:, 0] > 0.5).astype(int) for atoms in frames]
    cases = list(zip(frames, halves, strict=True))

    def rank(comm):
        force_field = ForceField(model, comm)
        return [together(comm, force_field, *case) for case in cases]

    want = ("energy", "forces", "stress", "charges")
    expected = [model.predict(atoms, want=want) for atoms in frames]
    for found in on_ranks(2, rank):
        for (energy, forces, stress, charges), whole in zip(found, expected, strict=True):
            np.testing.assert_allclose(energy, whole.energy, rtol=1e-12)
            np.testing.assert_allclose(forces, whole.forces, atol=1e-12)
            np.testing.assert_allclose(stress, whole.stress, atol=1e-12)
            np.testing.assert_allclose(charges, whole.charges, atol=1e-12)


def test_nothing_is_compiled_again_when_atoms_move_between_ranks():
    model = model_of(SHORT_RANGE, "float32")
    atoms = rattled(3, count=24, cell=CELL)

    def rank(comm):
        force_field, energies = ForceField(model, comm), []
        for own in (12, 13, 11, 12):
            owner = (np.arange(24) >= own).astype(int)
            energies.append(together(comm, force_field, atoms, owner)[0])
        traces = force_field.tally.traces
        # The first rank may also have no atoms.
        energies.append(together(comm, force_field, atoms, np.ones(24, int))[0])
        return energies, traces

    for energies, traces in on_ranks(2, rank):
        assert traces == 1
        np.testing.assert_allclose(energies, model.predict(atoms).energy, rtol=1e-5)


def test_ghosts_that_do_not_reach_are_an_error_on_every_rank():
    model, atoms = model_of(CONFIGS["messages"]), rattled(3, count=24, cell=CELL)

    def rank(comm):
        force_field = ForceField(model, comm)
        # Only one of them is asked for more than it has.
        force_field.ghost_cutoff = (5.0, 7.0)[comm.Get_rank()]
        with pytest.raises(Failed, match="set comm_modify cutoff to at least 6 angstrom"):
            force_field(given(atoms, (np.arange(24) >= 12).astype(int), comm.Get_rank()))

    on_ranks(2, rank)


def test_a_mistake_that_one_rank_finds_is_an_error_on_every_rank():
    """Otherwise the others would wait for it for ever."""

    def rank(comm):
        def function():
            if comm.Get_rank() == 1:
                raise InputError("model: not a model directory")

        with pytest.raises(InputError, match="^rank 1: model: not a model directory$"):
            on_each(comm, function)
        assert on_each(comm, comm.Get_rank) == comm.Get_rank()

    on_ranks(2, rank)


def test_forces_on_ghosts_arrive_at_their_owners(rng):
    tags = rng.permutation(40) + 5
    owner = rng.integers(0, 3, 40)
    forces = rng.normal(size=(3, 40, 3))

    def rank(comm):
        number = comm.Get_rank()
        own = np.flatnonzero(owner == number)
        # Two images of each ghost, and an image of an own atom.
        ghosts = np.concatenate([np.flatnonzero(owner != number)] * 2 + [own[:1]])
        all_tags = tags[np.concatenate([own, ghosts])]
        unique = all_tags[unique_atoms(all_tags, len(own))]
        assert sorted(unique) == sorted(tags)
        exchange = plan_exchange(comm, unique, len(own))
        place = {tag: n for n, tag in enumerate(tags)}
        mine = forces[number][[place[tag] for tag in unique]]
        return own, add_ghost_forces(comm, exchange, mine, len(own))

    total = forces.sum(axis=0)
    for own, found in on_ranks(3, rank):
        np.testing.assert_allclose(found, total[own])
