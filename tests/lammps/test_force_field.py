"""Ranks together give what one evaluation of the whole gives; ranks are threads here."""

import numpy as np
import pytest

from jles.errors import InputError, InputWarning
from jles.lammps.agreement import on_each
from jles.lammps.exchange import add_ghost_forces, plan_exchange, unique_atoms
from jles.lammps.force_field import ForceField
from jles.lammps.rank_arrays import RankInput
from jles.lammps.ranks import Failed
from jles.models.config import (
    DirectCharges,
    EquilibratedCharges,
    FlowCharges,
    MomentConfig,
    ResponseConfig,
    ScalarPolarizability,
    ScreeningConfig,
    SoftnessConfig,
)
from jles.predict.model import Model
from tests.support.marks import long
from tests.support.small_systems import rattled, small_backbone, small_config, small_model
from tests.support.thread_ranks import on_ranks

CELL = np.array([[9.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.4, -0.8, 6.2]])
SMALL = {"l_max": 0, "body_order": 1}
CONFIGS = {
    # With O positive the sign of the charges changes.
    "charges": small_config(
        backbone=small_backbone(**SMALL), screening=ScreeningConfig(positive="O")
    ),
    "shift": small_config(
        backbone=small_backbone(**SMALL),
        charges=DirectCharges(hidden=(), channels=2, total="shift"),
    ),
    "equilibrated": small_config(
        backbone=small_backbone(**SMALL), charges=EquilibratedCharges(hidden=())
    ),
    "softness": small_config(
        backbone=small_backbone(**SMALL),
        charges=DirectCharges(hidden=(), total="softness"),
        charge_softness=SoftnessConfig(hidden=()),
        polarizability=ScalarPolarizability(hidden=()),
    ),
    "self-consistent shift": small_config(
        backbone=small_backbone(**SMALL),
        charges=FlowCharges(hidden=(), flow_width=2, total="shift"),
        polarizability=ScalarPolarizability(hidden=()),
        response=ResponseConfig(mode="self-consistent"),
    ),
    "messages": small_config(
        backbone=small_backbone(layers=1, messages=("ar",), **SMALL),
        element_energies={"H": -1.5, "O": -3.25},
    ),
    "charge flow": small_config(
        backbone=small_backbone(**SMALL), charges=FlowCharges(hidden=(), flow_width=2)
    ),
    "dipoles": small_config(
        backbone=small_backbone(l_max=1, body_order=1, layers=1, messages=("ar",)),
        dipoles=MomentConfig(hidden=(3,), channels=1),
        screening=ScreeningConfig(positive="O"),
    ),
    "dipoles, polarizability": small_config(
        backbone=small_backbone(l_max=1, body_order=1),
        dipoles=MomentConfig(hidden=(3,), channels=1),
        polarizability=ScalarPolarizability(hidden=()),
        screening=ScreeningConfig(positive="H", epsilon_infinity=1.8),
    ),
    "self-consistent": small_config(
        backbone=small_backbone(l_max=1, body_order=1),
        dipoles=MomentConfig(hidden=(3,), channels=1),
        charge_softness=SoftnessConfig(hidden=()),
        polarizability=ScalarPolarizability(hidden=()),
        response=ResponseConfig(mode="self-consistent"),
    ),
    "self-consistent dipoles": small_config(
        backbone=small_backbone(**SMALL),
        polarizability=ScalarPolarizability(hidden=()),
        response=ResponseConfig(mode="self-consistent"),
    ),
    "dipoles, one-shot response": small_config(
        backbone=small_backbone(l_max=1, body_order=1),
        dipoles=MomentConfig(hidden=(3,), channels=1),
        charge_softness=SoftnessConfig(hidden=()),
        polarizability=ScalarPolarizability(hidden=()),
    ),
}
CRYSTAL, SLAB, CLUSTER = (True, True, True), (True, False, True), (False, False, False)
SHORT_RANGE = small_config(backbone=small_backbone(**SMALL), charges=None)


def model_of(config, dtype="float64"):
    return Model(config, small_model(config)[1], dtype)


def given(atoms, owner, rank, **applied):
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
        periodic=tuple(atoms.pbc),
        total=len(atoms),
        relisted=True,
        **applied,
    )


def together(comm, force_field, atoms, owner, rounding=1e-12):
    """Energy, forces, stress, charges and energies of all atoms, from one rank's side.

    The energies of all atoms add up to the energy.
    """
    out = force_field(given(atoms, owner, comm.Get_rank()))

    def of_all(values):
        inside = np.zeros((len(atoms), *values.shape[1:]))
        inside[owner == comm.Get_rank()] = values
        return sum(comm.allgather(inside))

    stress, energies = -out.virial / atoms.get_volume(), of_all(out.energies)
    np.testing.assert_allclose(energies.sum(), out.energy, rtol=rounding)
    return out.energy, of_all(out.forces), stress, of_all(out.charges), energies


@pytest.mark.parametrize(
    ("name", "boundary"),
    [
        ("messages", CRYSTAL),
        long("shift", CRYSTAL),
        long("shift", SLAB),
        long("equilibrated", CRYSTAL),
        long("equilibrated", SLAB),
        long("softness", CRYSTAL),
        long("self-consistent shift", CRYSTAL),
        long("charge flow", CRYSTAL),
        long("dipoles, one-shot response", CRYSTAL),
        long("charges", (CRYSTAL, SLAB)),
        long("self-consistent", CRYSTAL),
        long("dipoles, one-shot response", SLAB),
    ],
)
def test_ranks_together_equal_the_whole(name, boundary):
    """On two ranks, and after atoms have moved between them, or far out of a slab.

    A crystal may become a slab.
    """
    model = model_of(CONFIGS[name])
    frames = [rattled(seed, count=24, cell=CELL) for seed in (3, 4)]
    boundaries = boundary if boundary == (CRYSTAL, SLAB) else (boundary, boundary)
    if boundaries[1] == SLAB:
        frames[1].positions[:, 1] *= 4.0
    charge = 0.75 if model.config.sees_charge else 0.0
    for atoms, pbc in zip(frames, boundaries, strict=True):
        atoms.pbc, atoms.info["total_charge"] = pbc, charge
    halves = [(atoms.get_scaled_positions()[:, 0] > 0.5).astype(int) for atoms in frames]
    cases = list(zip(frames, halves, strict=True))

    def rank(comm):
        force_field = ForceField(model, comm, charge)
        found = [together(comm, force_field, *case) for case in cases]
        swapped = together(comm, force_field, frames[-1], 1 - halves[-1])
        # Energies of atoms do not depend on who owns them.
        np.testing.assert_allclose(swapped[-1], found[-1][-1], rtol=1e-11, atol=1e-11)
        return found

    want = ("energy", "forces", "stress", "charges")
    expected = [model.predict(atoms, want=want) for atoms in frames]
    for found in on_ranks(2, rank):
        for (energy, forces, stress, charges, _), whole in zip(found, expected, strict=True):
            exactly = {"rtol": 1e-12, "atol": 1e-12}
            np.testing.assert_allclose(energy, whole.energy, rtol=1e-12)
            np.testing.assert_allclose(forces, whole.forces, **exactly)
            np.testing.assert_allclose(stress, whole.stress, **exactly)
            of_atoms = whole.charges.reshape(len(charges), -1).sum(axis=1)
            np.testing.assert_allclose(charges, of_atoms, **exactly)


FIELD = np.array([0.02, -0.05, 0.03])
"""V/angstrom."""


def in_a_field(model, atoms):
    """Enthalpy, forces by the acoustic sum rule, polarization, from one evaluation."""
    want = ("energy", "forces", "born_charges", "polarization")
    found = model.predict(atoms, want=want[:2], field=FIELD)
    still = model.predict(atoms, want=want[2:], sum_rule=True)
    forces = found.forces - found.forces.mean(axis=0)
    return found.energy, forces, still.polarization, still.born_charges


@pytest.mark.parametrize(
    ("name", "pbc", "born", "ranks"),
    [
        ("messages", CRYSTAL, True, 2),
        long("dipoles", SLAB, True, 4),
        long("shift", CRYSTAL, True, 2),
        long("shift", SLAB, False, 4),
        long("self-consistent dipoles", CRYSTAL, False, 4),
        long("charge flow", SLAB, False, 1),
        long("dipoles, polarizability", CRYSTAL, False, 4),
    ],
)
def test_ranks_together_equal_the_whole_in_a_field(name, pbc, born, ranks):
    model, atoms = model_of(CONFIGS[name]), rattled(3, count=24, cell=CELL)
    atoms.pbc = pbc
    owner = (ranks * atoms.get_scaled_positions()[:, 0]).astype(int)
    moved = atoms.copy()
    # Atoms of the box in which LAMMPS has wrapped them, and what brings them back.
    shifts = np.zeros((24, 3))
    shifts[::5] = atoms.cell.array[2]
    moved.positions -= shifts

    def rank(comm):
        own = owner == comm.Get_rank()
        applied = {"unwrap": shifts[own], "field": FIELD, "born": born}
        return own, ForceField(model, comm)(given(moved, owner, comm.Get_rank(), **applied))

    energy, forces, polarization, charges = in_a_field(model, atoms)
    if not born:
        # The induced dipoles see the field.
        polarization = polarization + polarizability(model, atoms) @ FIELD
    for own, found in on_ranks(ranks, rank):
        np.testing.assert_allclose(found.energy, energy, rtol=1e-11)
        np.testing.assert_allclose(found.forces, forces[own], atol=1e-11)
        np.testing.assert_allclose(found.polarization, polarization, atol=1e-10)
        if born:
            np.testing.assert_allclose(found.born_charges, charges[own], atol=1e-10)


def polarizability(model, atoms):
    """Of the cell, e angstrom^2/V; zero without induced dipoles."""
    if model.config.polarizability is None:
        return np.zeros((3, 3))
    return model.predict(atoms, want=("polarizability",)).polarizability


@pytest.mark.long
def test_nothing_is_compiled_again_when_atoms_move_between_ranks():
    model = model_of(SHORT_RANGE, "float32")
    atoms = rattled(3, count=24, cell=CELL)

    def rank(comm):
        force_field, energies = ForceField(model, comm), []
        for own in (12, 13, 11, 12):
            owner = (np.arange(24) >= own).astype(int)
            energies.append(together(comm, force_field, atoms, owner, rounding=1e-6)[0])
        traces = force_field.tally.traces
        # The first rank may also have no atoms.
        energies.append(together(comm, force_field, atoms, np.ones(24, int), 1e-6)[0])
        return energies, traces

    for energies, traces in on_ranks(2, rank):
        assert traces == 1
        np.testing.assert_allclose(energies, model.predict(atoms).energy, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "pbc"), [(CONFIGS["charges"], SLAB), (SHORT_RANGE, CLUSTER)]
)
def test_a_vacuum_takes_no_digits(config, pbc):
    model, low = model_of(config, "float32"), rattled(3, count=24, cell=CELL)
    low.pbc = pbc
    high = low.copy()
    for axis in np.flatnonzero(~low.pbc):
        high.cell[axis] *= 500.0
        high.positions += 0.1 * high.cell.array[axis]

    def rank(comm):
        force_field = ForceField(model, comm)
        return [force_field(given(atoms, np.zeros(24), 0)).forces for atoms in (low, high)]

    ((expected, found),) = on_ranks(1, rank)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_atoms_on_the_same_spot_are_named_by_their_ids():
    model, atoms = model_of(SHORT_RANGE), rattled(3, count=24, cell=CELL)
    atoms.positions[5] = atoms.positions[20]

    def rank(comm):
        with pytest.raises(Failed, match="atom 16 and atom 61 are 0 angstrom apart"):
            ForceField(model, comm)(
                given(atoms, (np.arange(24) >= 12).astype(int), comm.Get_rank())
            )

    on_ranks(2, rank)


def test_elements_without_training_data_are_named_once_for_all_ranks():
    config = small_config(backbone=small_backbone(**SMALL))
    training = {"trained_elements": ["H"]}
    model = Model(config, small_model(config)[1], "float64", "runs/a", training)
    told = "training data of runs/a do not contain O$"

    def rank(comm):
        ForceField(model, comm).warn_of_unseen(np.array([[1], [1, 8]][comm.Get_rank()]))

    with pytest.warns(InputWarning, match=told) as seen:
        on_ranks(2, rank)
    assert len(seen) == 1
    on_ranks(1, lambda comm: ForceField(model, comm).warn_of_unseen(np.array([1])))


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
