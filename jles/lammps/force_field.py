"""The model on one rank: positions from LAMMPS in, energy, forces and virial out."""

import time
import warnings
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jles.domains.domain import Capacity, Domain, RankAtoms, build_domain, reach_of
from jles.electrostatics.plan import SumPlan, open_axes, plan_is_too_small, plan_sum
from jles.electrostatics.sums.slab import area_vector, open_middle
from jles.errors import InputError, InputWarning
from jles.lammps.charge_sum import ChargeSum
from jles.lammps.elements import element_energies
from jles.lammps.exchange import Exchange, add_ghost_forces, plan_exchange, unique_atoms
from jles.lammps.field_part import Mean, field_forces
from jles.lammps.network_pass import NetworkPass, network_pass
from jles.lammps.polarization import physical_factor, totals_of, unpacked
from jles.lammps.rank_arrays import (
    Applied,
    RankInput,
    RankOutput,
    gathered,
    moment_sums,
)
from jles.lammps.ranks import Ranks
from jles.lammps.ranks_energy import RanksEnergy
from jles.lammps.tally import Tally, timed
from jles.models.config import ModelConfig
from jles.predict.model import Model
from jles.structures.skin import NEAR_GROWTH

SKIN = 1.0
"""Skin of the neighbour list of a rank, angstrom."""

_PLAN_MARGIN = 0.1
"""Room for the box to grow in, once it has grown."""


class ForceField:
    """A model evaluated by the ranks of a communicator together.

    Args:
        model: one that `check_model` accepts.
        comm: communicator of mpi4py. Objects and arrays go through `alltoall`, `allgather`,
            `Allreduce` and `Alltoallv`.
        total_charge: e, of all atoms; for models that see it.

    Attributes:
        total_charge: e, of all atoms.
        ghost_cutoff: how far ghosts reach, angstrom; set before the first call. Without
            neighbouring ranks it is infinite.
        tally: times and bytes.
    """

    def __init__(self, model: Model, comm, total_charge: float = 0.0):
        self._model, self._comm = model, comm
        self._reach = reach_of(model.config)
        self._capacity, self._plan = Capacity(), SumPlan()
        self._periodic: tuple[bool, bool, bool] | None = None
        self._origin = np.zeros(3)
        self._places: np.ndarray | None = None
        self._exchange: Exchange | None = None
        self._domain: Domain | None = None
        self._listed: tuple | None = None
        self._relisted: tuple | None = None
        self.ghost_cutoff, self.tally = np.inf, Tally()
        self._ranks = Ranks(comm, self.tally)
        self.total_charge = total_charge
        self._energy = RanksEnergy(model.config, self._ranks, total_charge, self._computing)
        self._network = jax.jit(self._traced_network)
        self._field_forces = jax.jit(partial(field_forces, model.potential))

    @property
    def config(self) -> ModelConfig:
        """The configuration of the model."""
        return self._model.config

    @property
    def receptive_field(self) -> float:
        """Distance beyond which no atom matters to an own atom, angstrom."""
        return self._reach.receptive_field

    def warn_of_unseen(self, numbers) -> None:
        """Warns, on the first rank, of elements without training data; called by all ranks.

        Args:
            numbers: atomic numbers of the atoms of this rank.
        """
        everywhere = self._comm.allgather(np.unique(numbers))
        reason = self._model.unseen_elements(np.concatenate(everywhere))
        if reason and self._comm.Get_rank() == 0:
            warnings.warn(reason, InputWarning, stacklevel=2)

    def _traced_network(self, params, domain, positions, cell):
        self.tally.traces += 1
        return network_pass(self._model.potential, params, domain, positions, cell)

    def __call__(self, atoms: RankInput) -> RankOutput:
        """Evaluates one configuration; called by all ranks.

        Raises:
            Failed: a rank cannot be evaluated; on every rank.
            InputError: moments or charges do not converge; on every rank.
        """
        self.tally.begin()
        with jax.enable_x64(self._model.dtype == "float64"):
            return self._evaluate(atoms)

    def _evaluate(self, atoms: RankInput) -> RankOutput:
        if atoms.relisted or self._places is None:
            self._places = unique_atoms(atoms.tags, atoms.own)
            with self._ranks.waiting():
                self._exchange = plan_exchange(self._comm, atoms.tags[self._places], atoms.own)
            self._domain = None
            # Fixed until the next lists, so that it moves no atom between them.
            self._origin = open_middle(self._ends(atoms), atoms.cell, open_axes(atoms.periodic))
        atoms = atoms._replace(positions=atoms.positions - self._origin)
        here = self._places
        unique = RankAtoms(
            atoms.numbers[here], atoms.positions[here], atoms.own, atoms.tags[here]
        )
        self._fit_plan(atoms)
        network, message = None, ""
        try:
            with self._computing():
                network = self._of_network(unique, atoms)
        except InputError as error:
            message = str(error)
        self._ranks.check(message)
        dtype = self._model.dtype
        state = self._energy.start(network, jnp.asarray(atoms.cell, dtype), self._plan)
        applied = self._applied(state.part, unique, atoms)
        field = None if applied.field is None else jnp.asarray(applied.field, dtype)
        energy, moments, found = self._energy.finish(state, field)
        count, config = len(unique.numbers), self._model.config
        forces = np.asarray(found.forces, np.float64)[:count]
        rows = self._coupling_rows(unique, atoms, applied, state.total)[:, :count]
        elements = element_energies(unique.numbers[: atoms.own], config.element_energies)
        energies = elements + np.asarray(found.atomic, np.float64)[: atoms.own]
        places = atoms.positions[: atoms.own]
        if atoms.unwrap is not None:
            places = places + atoms.unwrap
        own = np.concatenate(
            [
                [energy + elements.sum()],
                np.ravel(np.asarray(found.virial, np.float64)),
                moment_sums(moments.charges[: atoms.own], places, moments.dipole),
                np.asarray(moments.permanent, np.float64),
                np.ravel(rows.sum(axis=1)),
            ]
        )
        columns = np.concatenate([forces, *rows], axis=1)
        with self._ranks.waiting():
            columns = add_ghost_forces(self._comm, self._exchange, columns, atoms.own)
        total = self._ranks.array(own)
        self.tally.forces += 8 * columns.shape[1] * len(self._exchange.send)
        return gathered(total, columns, energies, moments, found, atoms, applied)

    def _applied(self, part, unique: RankAtoms, atoms: RankInput) -> Applied:
        """Field, factor and means of all ranks, from the permanent moments."""
        config = self._model.config
        if config.charges is None:
            return Applied(None, 1.0, None)
        trace = part.trace if config.responds else 0.0
        own = totals_of(
            np.asarray(part.charges, np.float64)[: atoms.own],
            unique.numbers[: atoms.own],
            atoms.positions[: atoms.own],
            float(trace),
            config.screening,
        )
        totals, count = unpacked(self._ranks.array(own)), max(atoms.total, 1)
        volume, bulk = abs(np.linalg.det(atoms.cell)), all(atoms.periodic)
        fixed = config.fixes_sign(self.total_charge)
        factor = physical_factor(totals, count, volume, bulk, fixed, config.screening)
        field = None if atoms.field is None else factor * np.asarray(atoms.field, np.float64)
        means = Mean(totals.charge / count, totals.place / count)
        return Applied(field, factor, means)

    def _coupling_rows(
        self,
        unique: RankAtoms,
        atoms: RankInput,
        applied: Applied,
        total: ChargeSum | None,
    ) -> Float[np.ndarray, "rows atoms 3"]:
        """Born charges (e) or, without them, forces of the field; no rows for neither."""
        if atoms.born:
            fields = applied.factor * np.eye(3)
        elif applied.field is not None:
            fields = applied.field[None]
        else:
            return np.zeros((0, len(unique.numbers), 3))
        dtype = self._model.dtype
        arguments = (
            self._model.params,
            self._domain,
            self._padded(unique),
            atoms.cell.astype(dtype),
            fields.astype(dtype),
            Mean(*(np.asarray(value, dtype) for value in applied.mean)),
            total,
        )
        with self._computing():
            rows = jax.block_until_ready(self._field_forces(*arguments))
        return np.asarray(rows, np.float64)

    def _fit_plan(self, atoms: RankInput) -> None:
        """Plans the sum, with room where the box has grown; the same on every rank."""
        config = self._model.config
        if config.charges is None:
            return
        if atoms.periodic != self._periodic:
            self._plan, self._periodic = SumPlan(), atoms.periodic
        plan = self._plan
        ends = self._ends(atoms)
        margin = _PLAN_MARGIN if plan.periodic else 0.0
        options = config.sum_options | {"margin": margin}
        k_max, known = options["k_max"], {"positions": ends, "sigma": options["sigma"]}
        if margin and not plan_is_too_small(plan, atoms.cell, k_max, **known):
            return
        places = np.resize(ends, (atoms.total, 3))
        self._plan = plan_sum(atoms.cell, places, atoms.periodic, **options)
        self._domain = None

    def _ends(self, atoms: RankInput) -> Float[np.ndarray, "2 3"]:
        """The lowest and highest place of atoms of all ranks along open directions.

        They are the normal of a slab, and x, y and z in a cluster; zero for others.
        """
        axes = open_axes(atoms.periodic)
        if len(axes) not in (1, 3):
            return np.zeros((2, 3))
        normals = np.eye(3) if len(axes) == 3 else area_vector(atoms.cell, axes[0])[None]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        places = atoms.positions[: atoms.own] @ normals.T
        lowest = places.min(axis=0, initial=np.inf), -places.max(axis=0, initial=-np.inf)
        with self._ranks.waiting():
            low, high = np.min(self._comm.allgather(lowest), axis=0)
        return np.stack([low, -high]) @ normals

    def _of_network(self, unique: RankAtoms, atoms: RankInput) -> NetworkPass:
        """The network of this rank, with new lists and larger arrays where they are needed."""
        positions, cell = unique.positions, atoms.cell
        if atoms.relisted or self._relisted is None:
            self._relisted = positions.copy(), cell.copy()
        self._check_ghosts(positions, cell)
        if self._domain is None or _stale(self._listed, positions, cell, self._reach.cutoff):
            self._make_lists(unique, atoms)
        cell_now = np.asarray(cell, self._model.dtype)
        while True:
            padded = self._padded(unique)
            found = self._network(self._model.params, self._domain, padded, cell_now)
            if int(found.crowd) <= self._domain.near:
                return jax.block_until_ready(found)
            near = int(NEAR_GROWTH * int(found.crowd)) + 1
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

    @contextmanager
    def _computing(self):
        with timed(self.tally.compute), timed(self.tally.processor, time.process_time):
            yield


def _stale(reference, positions, cell, cutoff: float, skin: float = SKIN) -> bool:
    """`jles.structures.skin.is_stale` on the host."""
    before, cell_before = reference
    if len(positions) == 0:
        return False
    deformation = np.linalg.solve(cell_before, cell)
    strain = np.linalg.norm(deformation - np.eye(3))
    moved = np.linalg.norm(positions - before @ deformation, axis=1).max()
    return not 2.0 * moved + strain * (cutoff + skin) <= skin
