"""The atoms of a run shared by the devices of a process."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from jles.domains import domain as domains
from jles.dynamics.host_search import HostSearch
from jles.dynamics.layout import Layout
from jles.dynamics.regions import regions
from jles.dynamics.shared_atoms import AXIS, OWN, WHOLE, SharedAtoms, SharedPotential
from jles.dynamics.system import Capacity
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.models.potential import Params
from jles.structures.neighbors import NeighborTable
from jles.structures.search import SearchPlan, host_is_faster
from jles.structures.structure import Structure


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SharedNeighbors:
    """Neighbour lists of all devices, and the parameters.

    Attributes:
        params: of the model, on every device.
        atoms: of the run; positions and cell are those of the last search on the host.
        search: static; shapes of the search on the devices.
    """

    params: Params
    atoms: SharedAtoms
    search: SearchPlan = field(metadata={"static": True})

    @property
    def plan(self) -> SumPlan:
        """The plan of the electrostatic sum."""
        return self.atoms.plan

    @property
    def slab(self) -> SlabPlan:
        """The cell that a slab is summed in."""
        return self.atoms.slab


def on_several_devices(host_search: HostSearch, devices, couples: bool) -> Layout:
    """The layout of a run on several devices.

    Args:
        host_search: of the run.
        devices: `jax.Device`, each with an equal part of the atoms.
        couples: whether E . P is needed, for a field or a record.

    Raises:
        InputError: a model that devices cannot share, a boundary whose sum they cannot share,
            or fewer atoms than devices.
    """
    model, atoms = host_search.model, host_search.atoms
    check_model(model.config, couples)
    check_atoms(model.config, atoms, len(devices))
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    everywhere, on_owner = NamedSharding(mesh, WHOLE), NamedSharding(mesh, OWN)
    potential = SharedPotential(model.potential, mesh, atoms.numbers)
    params = jax.device_put(model.params, everywhere)
    reach = domains.reach_of(model.config)

    def at(positions, cell, neighbors):
        return replace(neighbors.atoms, positions=positions, cell=cell)

    def missing_slots(positions, cell, neighbors):
        here = at(positions, cell, neighbors)
        return jnp.max(potential.crowds(here)) - here.domain.near

    def rebuild(positions, cell, before):
        exact, capacity = host_search(positions, cell, before)
        owned = regions(positions, cell, atoms.pbc, len(devices))
        of_devices, capacity = _domains_of(exact, owned, reach, capacity)
        of_all = exact.positions, exact.cell, np.ones(len(atoms), bool), exact.total_charge
        slab = exact.open_axis, exact.slab_height
        shared = SharedAtoms(
            *jax.device_put((*of_all, *slab), everywhere), jax.device_put(of_devices, on_owner)
        )
        plan = host_search.plan_of_search(positions, cell, exact, capacity)
        return SharedNeighbors(params, shared, plan), capacity._replace(search=plan)

    def search(positions, cell, neighbors):
        if host_is_faster(neighbors.search):
            return neighbors, jnp.ones((), bool)
        found, incomplete = potential.search(neighbors.search, at(positions, cell, neighbors))
        renewed = replace(neighbors.atoms, domain=found)
        return replace(neighbors, atoms=renewed), jnp.any(incomplete)

    return Layout(potential, at, rebuild, search, missing_slots)


def _domains_of(
    structure: Structure, owned: list[np.ndarray], reach: domains.Reach, capacity: Capacity
) -> tuple[domains.Domain, Capacity]:
    """The domains of all devices, stacked, and the capacity that they need.

    Args:
        structure: with its neighbour list, not padded.
        owned: of every device its own atoms.
        reach: of the model.
        capacity: of earlier lists, enough for the neighbours of every atom.
    """
    table = NeighborTable(
        structure.neighbor_index, structure.neighbor_shift, structure.neighbor_mask
    )
    rows = [domains.rows_around(table, own, reach.hops) for own in owned]
    most = max(map(len, owned))
    # Without messages their number does not change.
    least = 0 if reach.hops else most + len(reach.elements)
    slots = capacity.neighbors, capacity.near
    sizes = domains.Capacity(len(structure.numbers), most, max(least, capacity.rows), *slots)
    places = structure.positions, structure.cell
    for around, own in zip(rows, owned, strict=True):
        need = domains.needed(table, around, len(own), *places, reach)
        sizes = domains.enough(sizes, need)
    how = structure.numbers, reach, capacity.plan, sizes
    of_devices = [
        domains.padded_domain(table, around, len(own), *how)
        for around, own in zip(rows, owned, strict=True)
    ]
    stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *of_devices)
    found = capacity._replace(neighbors=sizes.slots, near=sizes.near, rows=sizes.rows)
    return stacked, found


def check_model(config: ModelConfig, couples: bool) -> None:
    """Refuses models whose atoms see more than their surroundings.

    Args:
        config: of the model.
        couples: whether E . P is needed, for a field or a record.

    Raises:
        InputError: names the key of the model's configuration.
    """
    reasons = dict.fromkeys(domains.sees_more(config), True)
    if config.charges is not None:
        reasons["charges.kind 'equilibrated'"] = config.charges.kind == "equilibrated"
    if couples:
        why = " in a field, or to record polarization, current, Born charges or polarizability"
        reasons[f"charge_softness{why}"] = config.charge_softness is not None
    for key, found in reasons.items():
        if found:
            raise InputError(
                f"parallel: devices cannot share the atoms of a model with {key}; "
                "take one device"
            )


def check_atoms(config: ModelConfig, atoms, devices: int) -> None:
    """Refuses clusters where there is a sum over moments, and fewer atoms than devices.

    Args:
        config: of the model.
        atoms: `ase.Atoms`.
        devices: how many.

    Raises:
        InputError: names the boundary or the numbers.
    """
    if len(atoms) < devices:
        raise InputError(
            f"parallel.devices: {devices} devices cannot share {len(atoms)} atoms; "
            "take fewer devices"
        )
    if config.charges is not None and not atoms.pbc.any():
        raise InputError(
            "parallel: pbc is F F F; devices can share the atoms of a model with latent "
            "charges in a crystal or slab only: take one device"
        )
