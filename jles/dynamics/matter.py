"""A model's structure as a `System`: the one place where the engine and a model meet."""

import math
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.system import GROWTH, NEAR_GROWTH, Room, System
from jles.electrostatics.plan import grow_plan, longest_edges, merge_plans
from jles.models.potential import Params, coupling_at, polarizability_at
from jles.observables.born_charges import born_charges, dipole_current
from jles.predict.model import Model
from jles.predict.prediction import check_structure, check_wanted
from jles.structures.batch import Size, build_structure, on_device, pad_structure, size_of
from jles.structures.prune import most_neighbors, prune
from jles.structures.structure import Structure

CELL_MARGIN = 0.1
"""Relative growth of the edges of a cell that moves, for which there is room from the start."""

NEEDS = {
    "polarization": "polarization",
    "current": "polarization",
    "born_charges": "born_charges",
    "polarizability": "polarizability",
    "energy_parts": "energy_parts",
}
"""What a record needs of a model, in the words of `Model.predict`."""

_most_neighbors = jax.jit(most_neighbors, static_argnums=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ModelFrame:
    """What a model needs beside positions, cell and field.

    Attributes:
        params: of the model.
        structure: with all neighbours within the cutoff and its skin.
        near: static; slots for those within the cutoff.
    """

    params: Params
    structure: Structure
    near: int = field(metadata={"static": True})


def model_system(
    model: Model, atoms, *, skin: float, moves_cell: bool, in_field: bool, records=()
) -> System:
    """The functions of a model for these atoms.

    Args:
        model: with its parameters.
        atoms: of ASE; their masses, elements, `pbc` and total charge hold for the whole run.
        skin: of the list of neighbours, angstrom.
        moves_cell: leave room for a cell that grows.
        in_field: whether a field will act.
        records: names among `NEEDS` that will be recorded.

    Raises:
        InputError: elements the model does not know, geometry that cannot be, or something to
            record that this model or structure does not have.
    """
    first = model.structure(atoms)
    wanted = {NEEDS[name] for name in records} | ({"polarization"} if in_field else set())
    check_wanted(sorted(wanted), model.config, "the model")
    wanted |= {"stress"} if moves_cell else set()
    check_structure(sorted(wanted), model.config, atoms.pbc, in_field)
    config, potential = model.config, model.potential
    total_charge = float(first.total_charge)
    # Only the flow of charges in a crystal shares its reverse passes.
    other = config.dipoles, config.charge_softness, config.polarizability
    shares = atoms.pbc.all() and all(head is None for head in other)
    current_mode = "reverse" if shares else "forward"
    cutoff = config.backbone.cutoff
    # Counted is a little more than is taken: another rounding of a distance must not matter.
    counted = cutoff * (1.0 + 1e-5)

    def known(positions, cell, frame):
        return replace(frame.structure, positions=positions, cell=cell)

    def at(positions, cell, frame):
        return prune(known(positions, cell, frame), cutoff, frame.near)

    def lacking(positions, cell, frame):
        return most_neighbors(known(positions, cell, frame), counted) - frame.near

    def energy(positions, cell, frame, field):
        structure = at(positions, cell, frame)
        if field is None:
            return potential.energy_fn(frame.params, structure)
        return potential.enthalpy_fn(frame.params, structure, field)

    def look(positions, cell, room):
        margin = CELL_MARGIN if moves_cell and room.plan is None else 0.0
        sums = config.sum_options | {"margin": margin}
        if room.plan is not None and room.plan.periodic:
            # A run keeps the method it began with.
            sums["method"] = room.plan.method
        bare = _bare_structure(model, atoms, positions, cell, skin, total_charge, sums)
        before, room = room, _enough(room, size_of(bare))
        size = size_of(bare)._replace(neighbors=room.neighbors, plan=room.plan)
        structure = on_device(pad_structure(bare, size))
        crowd = int(_most_neighbors(structure, counted))
        near = min(math.ceil(NEAR_GROWTH * crowd), room.neighbors)
        # Where all is compiled again anyway these grow, too.
        if crowd > room.near or room != before:
            room = room._replace(near=max(near, room.near, 1))
        return ModelFrame(model.params, structure, room.near), room

    def fits(cell, frame):
        plan = frame.structure.plan
        if not plan.periodic:
            return True
        limits = {
            name: config.sum_options[name] for name in ("k_max", "sigma", "accuracy", "rank")
        }
        edges = jnp.linalg.norm(cell, axis=1)
        return jnp.all(edges < jnp.asarray(longest_edges(plan, **limits), edges.dtype))

    def dipole(positions, cell, frame):
        return potential.dipole_fn(frame.params, at(positions, cell, frame))

    def polarizability(positions, cell, frame):
        return polarizability_at(potential, frame.params, at(positions, cell, frame))

    def coupling(positions, cell, frame):
        return coupling_at(potential, frame.params, at(positions, cell, frame))

    def current(positions, velocities, cell, frame):
        """Of Born charges that obey the acoustic sum rule: a drift of all atoms carries none."""
        drift = velocities.mean(axis=0)
        along = coupling(positions, cell, frame)
        moving = dipole_current(along, positions, velocities - drift, current_mode)
        return moving + total_charge * drift

    def parts(positions, velocities, cell, frame):
        """Short and long range without a field; their sum is the potential energy."""
        return potential.parts_fn(frame.params, at(positions, cell, frame))._asdict()

    observables = {
        "polarization": lambda r, v, cell, frame: dipole(r, cell, frame),
        "current": current,
        "born_charges": lambda r, v, cell, frame: born_charges(coupling(r, cell, frame), r),
        "polarizability": lambda r, v, cell, frame: polarizability(r, cell, frame),
        "energy_parts": parts,
    }
    return System(
        masses=atoms.get_masses(),
        energy=energy,
        look=look,
        fits=fits,
        lacking=lacking,
        reach=cutoff,
        skin=skin,
        pbc=tuple(bool(p) for p in atoms.pbc),
        cell=np.asarray(first.cell, np.float64) if not atoms.pbc.all() else atoms.cell.array,
        charge=total_charge,
        dipole=dipole,
        polarizability=polarizability if config.polarizability is not None else None,
        observables=observables,
    )


def _bare_structure(
    model, atoms, positions, cell, skin: float, total_charge: float, sums: dict
) -> Structure:
    """A structure without room whose neighbours belong to `positions` as they are, unwrapped."""
    return build_structure(
        atoms.numbers,
        positions,
        cell,
        atoms.pbc,
        cutoff=model.config.backbone.cutoff + skin,
        total_charge=total_charge,
        wrapped=False,
        dtype=model.dtype,
        **sums,
    )


def _enough(room: Room, need: Size) -> Room:
    """The room for all neighbours and for the plan, larger where a structure needs more."""
    neighbors, plan = room.neighbors, room.plan
    if need.neighbors > neighbors:
        neighbors = max(math.ceil(GROWTH * neighbors), math.ceil(GROWTH * need.neighbors))
    if plan is None:
        plan = need.plan
    elif merge_plans([plan, need.plan]) != plan:
        plan = merge_plans([grow_plan(plan, GROWTH), need.plan])
    return room._replace(neighbors=neighbors, plan=plan)
