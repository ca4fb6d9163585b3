"""Makes the `System` of a model and a structure; the engine itself knows no model."""

import numpy as np

from jles.dynamics.host_search import HostSearch
from jles.dynamics.layout import Layout
from jles.dynamics.one_device import on_one_device
from jles.dynamics.several_devices import on_several_devices
from jles.dynamics.system import System
from jles.electrostatics.plan import plan_serves, slab_is_low
from jles.models.config import ModelConfig
from jles.observables.born_charges import dipole_current
from jles.predict.model import Model
from jles.predict.prediction import check_wanted
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.evaluation import Evaluation

_COUPLED = {"polarization", "born_charges", "polarizability"}
"""Quantities that are derivatives of E . P."""


def model_system(
    model: Model,
    atoms,
    *,
    skin: float,
    moves_cell: bool,
    in_field: bool,
    records=(),
    devices=(),
) -> System:
    """The functions of a model for these atoms.

    Args:
        model: the model with its parameters.
        atoms: `ase.Atoms`; masses, elements, `pbc` and total charge are those of the whole run.
        skin: skin of the neighbour list, angstrom.
        moves_cell: plan the electrostatic sum for a cell that grows.
        in_field: whether a field acts.
        records: quantities of the catalogue, and "current", that will be recorded.
        devices: `jax.Device` that share the atoms; by default one device has all of them.

    Raises:
        InputError: an element the model does not know, an impossible geometry, a record that
            this model or structure does not have, or a model that several devices cannot share.
    """
    first = model.structure(atoms)
    needs_polarization = in_field or "current" in records
    wanted = {*records, *(["polarization"] if needs_polarization else [])} - {"current"}
    wanted |= {"stress"} if moves_cell else set()
    check_wanted(sorted(wanted), model.config, atoms.pbc, in_field, "record", atoms.cell.array)
    total_charge = float(first.total_charge)
    host_search = HostSearch(model, atoms, skin, moves_cell, total_charge)
    if len(devices) > 1:
        couples = needs_polarization or bool(_COUPLED & wanted)
        layout = on_several_devices(host_search, devices, couples)
    else:
        layout = on_one_device(host_search)
    config = model.config
    functions = _functions(layout, config)
    return System(
        masses=atoms.get_masses(),
        rebuild_neighbors=layout.rebuild,
        missing_slots=layout.missing_slots,
        cutoff=config.backbone.cutoff,
        skin=skin,
        pbc=tuple(bool(p) for p in atoms.pbc),
        cell=np.asarray(first.cell, np.float64) if not atoms.pbc.all() else atoms.cell.array,
        charge=total_charge,
        **functions,
    )


def _functions(layout: Layout, config: ModelConfig) -> dict:
    """The fields of `System` that evaluate the model, by name."""
    potential, at = layout.potential, layout.at

    def energy(positions, cell, neighbors, field):
        structure = at(positions, cell, neighbors)
        if field is None:
            return potential.energy_fn(neighbors.params, structure)
        return potential.enthalpy_fn(neighbors.params, structure, field)

    def search_neighbors(positions, cell, neighbors):
        renewed, incomplete = layout.search(positions, cell, neighbors)
        slab, options = neighbors.slab, config.sum_options
        low = slab_is_low(neighbors.plan, cell, options, slab, positions)
        return renewed, incomplete | low

    def fits(cell, neighbors):
        return plan_serves(neighbors.plan, cell, config.sum_options, neighbors.slab)

    def dipole(positions, cell, neighbors):
        return potential.dipole_fn(neighbors.params, at(positions, cell, neighbors))

    def evaluation(positions, cell, neighbors):
        return Evaluation(potential, neighbors.params, at(positions, cell, neighbors))

    def flow(positions, moved, cell, neighbors):
        coupling = evaluation(positions, cell, neighbors).coupling
        return dipole_current(coupling, positions, moved)

    responds = config.polarizability is not None

    def polarizability(positions, cell, neighbors):
        here = evaluation(positions, cell, neighbors)
        hidden = here.hidden_polarizability()
        return hidden + here.polarizability() if responds else hidden

    knows_strain = QUANTITIES["piezoelectric"].refuse(config) is None

    def current(positions, velocities, cell, neighbors, strain_rate):
        here = evaluation(positions, cell, neighbors)
        return here.current(velocities, strain_rate if knows_strain else None)

    def recorded(name):
        def value(positions, velocities, cell, neighbors, strain_rate):
            structure = at(positions, cell, neighbors)
            return QUANTITIES[name].value(potential, neighbors.params, structure)

        return value

    screened = config.screening.epsilon_infinity is not None
    observables = {name: recorded(name) for name in QUANTITIES} | {"current": current}
    return {
        "energy": energy,
        "search_neighbors": search_neighbors,
        "fits": fits,
        "dipole": dipole,
        "flow": flow,
        "polarizability": polarizability if responds or screened else None,
        "observables": observables,
    }
