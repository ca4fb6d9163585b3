"""Makes the `System` of a model and a structure; the engine itself knows no model."""

import math
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.system import Capacity, System
from jles.electrostatics.plan import grow_plan, merge_plans, plan_serves
from jles.models.potential import Params
from jles.models.state import labels_of
from jles.observables.born_charges import dipole_current
from jles.predict.model import Model
from jles.predict.prediction import check_wanted
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.evaluation import Evaluation
from jles.structures.batch import Size, build_structure, on_device, pad_structure, size_of
from jles.structures.prune import most_neighbors, most_neighbors_jit, prune
from jles.structures.search import (
    SearchPlan,
    host_is_faster,
    plan_search,
    search,
    search_jit,
)
from jles.structures.skin import GROWTH, NEAR_GROWTH, ROUNDING
from jles.structures.structure import Structure

CELL_MARGIN = 0.1
"""Relative change of the cell edges that an NPT run allows for: growth in the first plan of the
sum, shrinking in that of the search."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ModelNeighbors:
    """Neighbour list and parameters of a model.

    Attributes:
        params: parameters of the model.
        structure: with all neighbours within cutoff + skin.
        near: static; slots per atom for neighbours within the cutoff.
        search: static; shapes of the search on the device.
    """

    params: Params
    structure: Structure
    near: int = field(metadata={"static": True})
    search: SearchPlan = field(metadata={"static": True})


def model_system(
    model: Model, atoms, *, skin: float, moves_cell: bool, in_field: bool, records=()
) -> System:
    """The functions of a model for these atoms.

    Args:
        model: the model with its parameters.
        atoms: `ase.Atoms`; masses, elements, `pbc` and total charge are those of the whole run.
        skin: skin of the neighbour list, angstrom.
        moves_cell: plan the electrostatic sum for a cell that grows.
        in_field: whether a field acts.
        records: quantities of the catalogue, and "current", that will be recorded.

    Raises:
        InputError: an element the model does not know, an impossible geometry, or a record that
            this model or structure does not have.
    """
    first = model.structure(atoms)
    needs_polarization = in_field or "current" in records
    wanted = {*records, *(["polarization"] if needs_polarization else [])} - {"current"}
    wanted |= {"stress"} if moves_cell else set()
    check_wanted(sorted(wanted), model.config, atoms.pbc, in_field, "record", atoms.cell.array)
    config, potential = model.config, model.potential
    total_charge = float(first.total_charge)
    cutoff = config.backbone.cutoff
    counted = cutoff * ROUNDING
    pbc = tuple(bool(p) for p in atoms.pbc)

    def full(positions, cell, neighbors):
        return replace(neighbors.structure, positions=positions, cell=cell)

    def at(positions, cell, neighbors):
        return prune(full(positions, cell, neighbors), cutoff, neighbors.near)

    def missing_slots(positions, cell, neighbors):
        return most_neighbors(full(positions, cell, neighbors), counted) - neighbors.near

    def energy(positions, cell, neighbors, field):
        structure = at(positions, cell, neighbors)
        if field is None:
            return potential.energy_fn(neighbors.params, structure)
        return potential.enthalpy_fn(neighbors.params, structure, field)

    def rebuild_neighbors(positions, cell, capacity):
        margin = CELL_MARGIN if moves_cell and capacity.plan is None else 0.0
        sums = config.sum_options | {"margin": margin}
        if capacity.plan is not None and capacity.plan.periodic:
            # A run keeps the method that it started with.
            sums["method"] = capacity.plan.method
        exact = _exact_structure(model, atoms, positions, cell, skin, total_charge, sums)
        before, capacity = capacity, _enough(capacity, size_of(exact))
        size = size_of(exact)._replace(neighbors=capacity.neighbors, plan=capacity.plan)
        structure = on_device(pad_structure(exact, size))
        crowd = int(most_neighbors_jit(structure, counted))
        near = min(math.ceil(NEAR_GROWTH * crowd), capacity.neighbors)
        # If everything is compiled again anyway, let these grow too.
        if crowd > capacity.near or capacity != before:
            capacity = capacity._replace(near=max(near, capacity.near, 1))
        capacity = capacity._replace(search=search_plan(positions, cell, structure, capacity))
        neighbors = ModelNeighbors(model.params, structure, capacity.near, capacity.search)
        return neighbors, capacity

    def search_plan(positions, cell, structure, capacity) -> SearchPlan:
        """That of the capacity, unless it does not suffice."""
        plan, slots = capacity.search, capacity.neighbors
        if plan is not None and plan.slots == slots:
            places = structure.positions, structure.cell
            if host_is_faster(plan) or not search_jit(plan, *places).incomplete:
                return plan
        margin = CELL_MARGIN if moves_cell else 0.0
        reach = (cutoff + skin) * ROUNDING
        return plan_search(positions, cell, pbc, reach, slots, margin=margin)

    def search_neighbors(positions, cell, neighbors):
        if host_is_faster(neighbors.search):
            return neighbors, jnp.ones((), bool)
        found = search(neighbors.search, positions, cell)
        structure = replace(
            neighbors.structure,
            neighbor_index=found.index,
            neighbor_shift=found.shift,
            neighbor_mask=found.mask,
        )
        return replace(neighbors, structure=structure), found.incomplete

    def fits(cell, neighbors):
        return plan_serves(neighbors.structure.plan, cell, config.sum_options)

    def dipole(positions, cell, neighbors):
        return potential.dipole_fn(neighbors.params, at(positions, cell, neighbors))

    def polarizability(positions, cell, neighbors):
        structure = at(positions, cell, neighbors)
        return Evaluation(potential, neighbors.params, structure).polarizability()

    def coupling(positions, cell, neighbors):
        structure = at(positions, cell, neighbors)
        return Evaluation(potential, neighbors.params, structure).coupling

    def current(positions, velocities, cell, neighbors):
        """Current of Born charges that obey the acoustic sum rule.

        A drift of all atoms transports the total charge only.
        """
        drift = velocities.mean(axis=0)
        internal = dipole_current(
            coupling(positions, cell, neighbors), positions, velocities - drift
        )
        return internal + total_charge * drift

    def recorded(name):
        def value(positions, velocities, cell, neighbors):
            structure = at(positions, cell, neighbors)
            return QUANTITIES[name].value(potential, neighbors.params, structure)

        return value

    observables = {name: recorded(name) for name in QUANTITIES} | {"current": current}
    return System(
        masses=atoms.get_masses(),
        energy=energy,
        rebuild_neighbors=rebuild_neighbors,
        search_neighbors=search_neighbors,
        fits=fits,
        missing_slots=missing_slots,
        cutoff=cutoff,
        skin=skin,
        pbc=pbc,
        cell=np.asarray(first.cell, np.float64) if not atoms.pbc.all() else atoms.cell.array,
        charge=total_charge,
        dipole=dipole,
        polarizability=polarizability if config.polarizability is not None else None,
        observables=observables,
    )


def _exact_structure(
    model, atoms, positions, cell, skin: float, total_charge: float, sums: dict
) -> Structure:
    """A structure without padding, whose neighbour list holds for the unwrapped positions."""
    return build_structure(
        atoms.numbers,
        positions,
        cell,
        atoms.pbc,
        cutoff=model.config.backbone.cutoff + skin,
        total_charge=total_charge,
        state=labels_of(atoms, model.config.state, model.state_key, model.where),
        wrapped=False,
        dtype=model.dtype,
        **sums,
    )


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
