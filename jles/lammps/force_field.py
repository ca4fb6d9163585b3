"""The model on one rank: positions from LAMMPS in, energy, forces and virial out."""

import time
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Array, Float, Int

from jles.electrostatics.plan import SumPlan, plan_is_too_small, plan_sum
from jles.errors import InputError
from jles.lammps.domain import Capacity, Domain, RankAtoms, build_domain
from jles.lammps.exchange import Exchange, add_ghost_forces, plan_exchange, unique_atoms
from jles.lammps.induced_part import (
    RespondingPart,
    induced_part,
    responding_derivatives,
    responding_part,
)
from jles.lammps.own_part import Derivatives, OwnPart, derivatives, own_part
from jles.lammps.refusals import reach_of
from jles.lammps.tally import Tally, timed
from jles.models.config import ModelConfig
from jles.predict.model import Model
from jles.structures.skin import NEAR_GROWTH

SKIN = 1.0
"""Skin of the neighbour list of a rank, angstrom."""

_PLAN_MARGIN = 0.1
"""Room for the box to grow in, once it has grown."""


class RankInput(NamedTuple):
    """Atoms of a rank as LAMMPS has them, own atoms first, then all images of ghosts.

    Attributes:
        tags: atom IDs.
        numbers: atomic numbers.
        positions: from a corner of the box, angstrom.
        own: how many atoms are own.
        cell: rows are lattice vectors, angstrom.
        periodic: of each direction.
        total: number of atoms of all ranks.
        relisted: whether LAMMPS has made new lists, so atoms may have moved between ranks.
    """

    tags: Int[np.ndarray, " all"]
    numbers: Int[np.ndarray, " all"]
    positions: Float[np.ndarray, "all 3"]
    own: int
    cell: Float[np.ndarray, "3 3"]
    periodic: tuple[bool, bool, bool]
    total: int
    relisted: bool


class RankOutput(NamedTuple):
    """Results of a rank.

    Attributes:
        energy: of all ranks, element energies included, eV.
        forces: on own atoms, eV/angstrom.
        virial: of all ranks, -dE/dstrain, eV.
        charges: latent charges of own atoms, e.
    """

    energy: float
    forces: Float[np.ndarray, "own 3"]
    virial: Float[np.ndarray, "3 3"]
    charges: Float[np.ndarray, " own"]


class Failed(Exception):
    """An error that every rank knows of, with the same message on all of them."""


class ForceField:
    """A model evaluated by the ranks of a communicator together.

    Args:
        model: one that `check_model` accepts.
        comm: communicator of mpi4py. Objects and arrays go through `alltoall`, `allgather`,
            `Allreduce` and `Alltoallv`.

    Attributes:
        ghost_cutoff: how far ghosts reach, angstrom; set before the first call. Without
            neighbouring ranks it is infinite.
        tally: times and bytes.
    """

    def __init__(self, model: Model, comm):
        self._model, self._comm = model, comm
        self._reach = reach_of(model.config)
        self._capacity, self._plan = Capacity(), SumPlan()
        self._places: np.ndarray | None = None
        self._exchange: Exchange | None = None
        self._domain: Domain | None = None
        self._listed: tuple | None = None
        self._relisted: tuple | None = None
        self.ghost_cutoff, self.tally = np.inf, Tally()
        self._responds = bool({"charge_softness", "polarizability"} & set(model.config.heads))
        self._own_part = jax.jit(self._traced_part)
        self._derivatives = jax.jit(derivatives, static_argnums=(3, 4))
        self._induced_part = jax.jit(induced_part, static_argnums=(3, 4))
        self._responding = jax.jit(partial(responding_derivatives, model.potential))

    @property
    def config(self) -> ModelConfig:
        """Of the model."""
        return self._model.config

    @property
    def receptive_field(self) -> float:
        """Distance beyond which no atom matters to an own atom, angstrom."""
        return self._reach.receptive_field

    def _traced_part(self, params, domain, positions, cell):
        self.tally.traces += 1
        evaluate = responding_part if self._responds else own_part
        return evaluate(self._model.potential, params, domain, positions, cell)

    def __call__(self, atoms: RankInput) -> RankOutput:
        """Evaluates one configuration; called by all ranks.

        Raises:
            Failed: a rank cannot be evaluated; on every rank.
        """
        self.tally.begin()
        with jax.enable_x64(self._model.dtype == "float64"):
            return self._evaluate(atoms)

    def _evaluate(self, atoms: RankInput) -> RankOutput:
        if atoms.relisted or self._places is None:
            self._places = unique_atoms(atoms.tags, atoms.own)
            with self._exchanging():
                self._exchange = plan_exchange(self._comm, atoms.tags[self._places], atoms.own)
            self._domain = None
        unique = RankAtoms(
            atoms.numbers[self._places], atoms.positions[self._places], atoms.own
        )
        self._fit_plan(atoms)
        part, message = None, ""
        try:
            with self._computing():
                part = self._part(unique, atoms)
        except InputError as error:
            message = str(error)
        self._check(message)
        energy, charges, found = self._finish(part, unique, atoms)
        forces = np.asarray(found.forces, np.float64)[: len(unique.numbers)]
        energy += self._element_energies(unique)
        own = np.array([energy, *np.ravel(np.asarray(found.virial, np.float64))])
        with self._exchanging():
            forces = add_ghost_forces(self._comm, self._exchange, forces, atoms.own)
            total = np.empty_like(own)
            self._comm.Allreduce(own, total)
        self.tally.forces += 24 * len(self._exchange.send)
        return RankOutput(
            total[0] + float(found.lattice_energy),
            forces,
            total[1:].reshape(3, 3) + np.asarray(found.lattice_virial, np.float64),
            charges[: atoms.own],
        )

    def _finish(
        self, part: OwnPart | RespondingPart, unique: RankAtoms, atoms: RankInput
    ) -> tuple[float, np.ndarray, Derivatives]:
        """Energy of this rank (eV), charges of its first rows (e), derivatives."""
        sums = self._added(part.sums)
        cell = jnp.asarray(atoms.cell, self._model.dtype)
        how = self._plan, self._model.config.electrostatics
        if not self._responds:
            with self._computing():
                found = jax.block_until_ready(self._derivatives(part, sums, cell, *how))
            return float(part.energy), np.asarray(part.charges, np.float64), found
        with self._computing():
            induced = jax.block_until_ready(self._induced_part(part, sums, cell, *how))
        both = self._added(induced.sums)
        with self._computing():
            arguments = self._model.params, self._domain, self._padded(unique), cell
            energy, found = jax.block_until_ready(self._responding(*arguments, sums, both))
        return float(energy), np.asarray(induced.charges, np.float64), found

    def _fit_plan(self, atoms: RankInput) -> None:
        """Plans the sum, with room where the box has grown; the same on every rank."""
        config = self._model.config
        if config.charges is None:
            return
        margin = _PLAN_MARGIN if self._plan.periodic else 0.0
        if margin and not plan_is_too_small(
            self._plan, atoms.cell, config.electrostatics.k_max
        ):
            return
        options = config.sum_options | {"margin": margin}
        self._plan = plan_sum(atoms.cell, np.empty((atoms.total, 3)), True, **options)
        self._domain = None

    def _part(self, unique: RankAtoms, atoms: RankInput) -> OwnPart | RespondingPart:
        """The part of this rank, with new lists and larger arrays where they are needed."""
        positions, cell = unique.positions, atoms.cell
        if atoms.relisted or self._relisted is None:
            self._relisted = positions.copy(), cell.copy()
        self._check_ghosts(positions, cell)
        if self._domain is None or _stale(self._listed, positions, cell, self._reach.cutoff):
            self._make_lists(unique, atoms)
        cell_now = np.asarray(cell, self._model.dtype)
        while True:
            padded = self._padded(unique)
            part = self._own_part(self._model.params, self._domain, padded, cell_now)
            if int(part.crowd) <= self._domain.near:
                return jax.block_until_ready(part)
            near = int(NEAR_GROWTH * int(part.crowd)) + 1
            self._capacity = self._capacity._replace(near=near)
            self._make_lists(unique, atoms)

    def _padded(self, unique: RankAtoms) -> Float[np.ndarray, "atoms 3"]:
        positions = np.zeros((self._capacity.atoms, 3), self._model.dtype)
        positions[: len(unique.positions)] = unique.positions
        return positions

    def _make_lists(self, unique: RankAtoms, atoms: RankInput) -> None:
        domain, self._capacity = build_domain(
            unique,
            atoms.cell,
            atoms.periodic,
            self._reach,
            self._plan,
            self._capacity,
            skin=SKIN,
        )
        self._domain = jax.tree.map(jnp.asarray, domain)
        self._listed = unique.positions.copy(), atoms.cell.copy()
        self.tally.lists += 1

    def _check_ghosts(self, positions, cell) -> None:
        """Refuses ghosts that do not reach as far as the model looks.

        Raises:
            InputError: names the `comm_modify cutoff` to set.
        """
        reach, margin = self.receptive_field, self.ghost_cutoff - self.receptive_field
        advice = (
            f"set comm_modify cutoff to at least {reach:g} angstrom, which the model sees, "
            "plus the skin of `neighbor`"
        )
        if margin < 0.0:
            raise InputError(f"ghost atoms reach {self.ghost_cutoff:g} angstrom; {advice}")
        if np.isfinite(margin) and _stale(self._relisted, positions, cell, reach, margin):
            raise InputError(
                f"atoms have moved too far since LAMMPS made its lists for ghost atoms that "
                f"reach {self.ghost_cutoff:g} angstrom; {advice}, or let LAMMPS make lists "
                "more often (neigh_modify every 1 delay 0 check yes)"
            )

    def _check(self, message: str) -> None:
        """Agrees with the other ranks that none of them has failed.

        Raises:
            Failed: one has, `message` is its error; on every rank.
        """
        with self._exchanging():
            failed = np.array([bool(message)], np.int64)
            self._comm.Allreduce(failed.copy(), failed)
            if failed[0]:
                raise Failed(next(filter(None, self._comm.allgather(message))))

    def _added(self, sums) -> Array:
        """A structure factor, added up over all ranks."""
        own = np.asarray(sums)
        self.tally.sums = own.nbytes * (2 if self._responds else 1)
        total = np.empty_like(own)
        with self._exchanging():
            self._comm.Allreduce(own, total)
        return jnp.asarray(total)

    def _element_energies(self, unique: RankAtoms) -> float:
        energies = self._model.config.element_energies
        numbers = unique.numbers[: unique.own]
        return sum((energies.get(chemical_symbols[z], 0.0) for z in numbers.tolist()), 0.0)

    @contextmanager
    def _computing(self):
        with timed(self.tally.compute), timed(self.tally.processor, time.process_time):
            yield

    def _exchanging(self):
        return timed(self.tally.exchange)


def _stale(reference, positions, cell, cutoff: float, skin: float = SKIN) -> bool:
    """`jles.structures.skin.is_stale` on the host."""
    before, cell_before = reference
    if len(positions) == 0:
        return False
    deformation = np.linalg.solve(cell_before, cell)
    strain = np.linalg.norm(deformation - np.eye(3))
    moved = np.linalg.norm(positions - before @ deformation, axis=1).max()
    return not 2.0 * moved + strain * (cutoff + skin) <= skin
