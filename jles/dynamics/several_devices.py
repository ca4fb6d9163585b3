"""The atoms of a run shared by the devices of a process."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from jles.domains import domain as domains
from jles.dynamics.host_search import HostSearch
from jles.dynamics.layout import Layout
from jles.dynamics.regions import regions
from jles.dynamics.shared_atoms import AXIS, OWN, WHOLE, SharedAtoms, SharedPotential
from jles.electrostatics.plan import SumPlan
from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.models.potential import Params
from jles.structures.neighbors import NeighborTable


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SharedNeighbors:
    """Neighbour lists of all devices, and the parameters.

    Attributes:
        params: of the model, on every device.
        atoms: of the run; their positions and cell are those of the last search.
    """

    params: Params
    atoms: SharedAtoms

    @property
    def plan(self) -> SumPlan:
        """The plan of the electrostatic sum."""
        return self.atoms.plan


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
    potential = SharedPotential(model.potential, mesh)
    params = jax.device_put(model.params, everywhere)
    reach = domains.reach_of(model.config)

    def at(positions, cell, neighbors):
        return replace(neighbors.atoms, positions=positions, cell=cell)

    def missing_slots(positions, cell, neighbors):
        here = at(positions, cell, neighbors)
        return jnp.max(potential.crowds(here)) - here.domain.near

    def rebuild(positions, cell, before):
        exact, capacity = host_search(positions, cell, before)
        table = NeighborTable(exact.neighbor_index, exact.neighbor_shift, exact.neighbor_mask)
        owned = regions(positions, cell, atoms.pbc, len(devices))
        rows = [domains.rows_around(table, own, reach.hops) for own in owned]
        most = max(map(len, owned))
        # Without messages their number does not change.
        least = 0 if reach.hops else most + len(reach.elements)
        sizes = domains.Capacity(
            len(atoms), most, max(least, capacity.rows), capacity.neighbors, capacity.near
        )
        places = exact.positions, exact.cell
        for around, own in zip(rows, owned, strict=True):
            need = domains.needed(table, around, len(own), *places, reach)
            sizes = domains.enough(sizes, need)
        of_devices = [
            domains.padded_domain(
                table, around, len(own), atoms.numbers, reach, capacity.plan, sizes
            )
            for around, own in zip(rows, owned, strict=True)
        ]
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *of_devices)
        of_all = *places, np.ones(len(atoms), bool), exact.total_charge
        slab = exact.open_axis, exact.slab_height
        shared = SharedAtoms(
            *jax.device_put((*of_all, *slab), everywhere), jax.device_put(stacked, on_owner)
        )
        capacity = capacity._replace(neighbors=sizes.slots, near=sizes.near, rows=sizes.rows)
        return SharedNeighbors(params, shared), capacity

    return Layout(potential, at, rebuild, None, missing_slots)


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
