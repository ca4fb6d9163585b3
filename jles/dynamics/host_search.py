"""The structure of a run with a new neighbour list, made on the host."""

import math
from typing import NamedTuple

from jles.dynamics.system import Capacity
from jles.electrostatics.plan import grow_plan, merge_plans
from jles.models.state import labels_of
from jles.predict.model import Model
from jles.structures.batch import Size, build_structure, size_of
from jles.structures.search import SearchPlan, host_is_faster, plan_search, search_jit
from jles.structures.skin import GROWTH, ROUNDING
from jles.structures.structure import Structure

CELL_MARGIN = 0.1
"""Relative change of the cell edges that an NPT run allows for: growth in the first plan of the
sum, shrinking in that of the search."""


class HostSearch(NamedTuple):
    """The neighbour search of a run, on the host.

    Attributes:
        model: gives cutoff, sum and precision.
        atoms: `ase.Atoms` of the run; elements and `pbc` are read.
        skin: of the neighbour list, angstrom.
        moves_cell: whether the cell changes.
        total_charge: e.
    """

    model: Model
    atoms: object
    skin: float
    moves_cell: bool
    total_charge: float

    def __call__(self, positions, cell, capacity: Capacity) -> tuple[Structure, Capacity]:
        """The structure with its list for these positions, not padded.

        Args:
            positions: angstrom; need not be wrapped.
            cell: rows are lattice vectors, angstrom.
            capacity: of earlier lists.

        Returns:
            The structure, and the capacity with enough slots within cutoff + skin and a plan
            that serves.
        """
        config = self.model.config
        margin = CELL_MARGIN if self.moves_cell and capacity.plan is None else 0.0
        sums = config.sum_options | {"margin": margin}
        if capacity.plan is not None and capacity.plan.periodic:
            # A run keeps the method that it started with.
            sums["method"] = capacity.plan.method
        labels = labels_of(self.atoms, config.state, self.model.state_key, self.model.where)
        exact = build_structure(
            self.atoms.numbers,
            positions,
            cell,
            self.atoms.pbc,
            cutoff=config.backbone.cutoff + self.skin,
            total_charge=self.total_charge,
            state=labels,
            wrapped=False,
            dtype=self.model.dtype,
            **sums,
        )
        return exact, _enough(capacity, size_of(exact))

    def plan_of_search(
        self, positions, cell, structure: Structure, capacity: Capacity
    ) -> SearchPlan:
        """The plan of the capacity for a search on the device, or a new one if it must be.

        Args:
            positions: angstrom; need not be wrapped.
            cell: rows are lattice vectors, angstrom.
            structure: with these positions, in the precision of the run.
            capacity: with the slots of the lists.
        """
        plan, slots = capacity.search, capacity.neighbors
        if plan is not None and plan.slots == slots:
            places = structure.positions, structure.cell
            if host_is_faster(plan) or not search_jit(plan, *places).incomplete:
                return plan
        margin = CELL_MARGIN if self.moves_cell else 0.0
        reach = (self.model.config.backbone.cutoff + self.skin) * ROUNDING
        return plan_search(positions, cell, self.atoms.pbc, reach, slots, margin=margin)


def _enough(capacity: Capacity, need: Size) -> Capacity:
    """The capacity, enlarged if a structure has more neighbours or needs a larger plan."""
    neighbors, plan = capacity.neighbors, capacity.plan
    if need.neighbors > neighbors:
        neighbors = max(math.ceil(GROWTH * neighbors), math.ceil(GROWTH * need.neighbors))
    if plan is None:
        plan = need.plan
    elif merge_plans([plan, need.plan]) != plan:
        plan = merge_plans([grow_plan(plan, GROWTH), need.plan])
    return capacity._replace(neighbors=neighbors, plan=plan)
