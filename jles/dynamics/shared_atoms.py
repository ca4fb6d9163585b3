r"""A model whose atoms are shared by devices; traced.

Every device has the positions of all atoms, and applies the network to its own atoms and to
those around them that these read (see `jles.domains.domain`). From there on moments stay
with the owner of their atom. The structure factor is a sum over devices, like the energy, the
coupling E . P of the charges and the charge that a prescribed total charge lacks. Each of
these sums, and the gradient with respect to positions, is one `all-reduce`; no features or
moments of atoms are sent.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jles.bloch.crystal_coupling import crystal_coupling
from jles.domains.domain import Domain, reach_of
from jles.domains.own_atoms import OwnAtoms, near_neighbors, own_atoms
from jles.domains.rank_sums import energy_of_rank_sums, rank_sums, without_self
from jles.domains.search_domain import search_domain
from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.electrostatics.response.applied_field import Enthalpy, enthalpy, sum_of_dipoles
from jles.models.config import ScreeningConfig
from jles.models.coupling import net_charge_coupling
from jles.models.latent import Latent, missing_share, physical_factor, with_share
from jles.models.potential import EnergyParts, Params, Potential
from jles.products import vdot
from jles.structures.search import SearchPlan
from jles.typing import Cell, Positions

AXIS = "atoms"
"""The axis of the mesh of devices."""

OWN, WHOLE = PartitionSpec(AXIS), PartitionSpec()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SharedAtoms:
    """Atoms that devices share; has what an `Evaluation` reads of a `Structure`.

    Attributes:
        positions: of all atoms, angstrom.
        cell: rows are lattice vectors, angstrom.
        mask: True for every atom.
        total_charge: e.
        open_axis: lattice vector of a slab that is not periodic; -1 for others.
        slab_height: height of the cell a slab is summed in, angstrom.
        domain: those of all devices, with a leading axis of devices; inside of `jax.shard_map`
            that of one device.
    """

    positions: Positions
    cell: Cell
    mask: Bool[Array, " atoms"]
    total_charge: Float[Array, ""]
    open_axis: Int[Array, ""]
    slab_height: Float[Array, ""]
    domain: Domain

    @property
    def plan(self) -> SumPlan:
        """The plan of the electrostatic sum."""
        return self.domain.plan

    @property
    def slab(self) -> SlabPlan:
        """The cell that a slab is summed in."""
        return SlabPlan(self.open_axis, self.slab_height)


class Owned(NamedTuple):
    """Network output of all atoms, each on the device of its owner.

    Attributes:
        atoms: padded.
        share: of the charge that a prescribed total charge lacks, see `with_share`; None where
            the total charge is free.
    """

    atoms: OwnAtoms
    share: Float[Array, ""] | None


class SharedPotential:
    """Functions of `(params, atoms)` like those of a `Potential`; atoms are `SharedAtoms`.

    Args:
        potential: of a model that `check_model` of `several_devices` accepts.
        mesh: devices, along the axis `AXIS`.
        numbers: atomic numbers of all atoms.
    """

    def __init__(self, potential: Potential, mesh: Mesh, numbers: Int[np.ndarray, " atoms"]):
        self.config, self._numbers = potential.config, numbers
        self._potential, self._mesh = potential, mesh
        soft = self.config.charge_softness is not None
        self._coupling = crystal_coupling(self._charges, to_second_order=not soft)

    def energy_fn(self, params: Params, atoms: SharedAtoms) -> Float[Array, ""]:
        """Energy, eV."""
        return self.enthalpy_fn(params, atoms)

    def enthalpy_fn(
        self, params: Params, atoms: SharedAtoms, field: Float[Array, " 3"] | None = None
    ) -> Float[Array, ""]:
        """Enthalpy (eV) in a field, V/angstrom."""
        return sum(self.parts_fn(params, atoms, field))

    def parts_fn(
        self, params: Params, atoms: SharedAtoms, field: Float[Array, " 3"] | None = None
    ) -> EnergyParts:
        """Short-range and long-range parts of the energy, or of the enthalpy in a field."""
        owned = self._all_own(params, atoms)
        short = jnp.sum(owned.atoms.short_range)
        if owned.atoms.moments is None:
            return EnergyParts(short, jnp.zeros_like(short))
        if field is None:
            return EnergyParts(short, self._long_range(params, atoms, owned).energy)
        latent = self.factor_fn(params, atoms) * field
        long = self._long_range(params, atoms, owned, latent).energy
        return EnergyParts(short, long - net_charge_coupling(field, atoms))

    def dipole_fn(self, params: Params, atoms: SharedAtoms) -> Float[Array, " 3"]:
        """Physical polarization, e angstrom."""
        axes = jnp.eye(3, dtype=atoms.positions.dtype)
        return jnp.stack([self.coupling_fn(params, atoms, axis) for axis in axes])

    def coupling_fn(
        self,
        params: Params,
        atoms: SharedAtoms,
        field: Float[Array, " 3"],
        local: bool = False,
    ) -> Float[Array, ""]:
        """E . P with the physical polarization, e angstrom times the unit of the field.

        `local` is that of `Potential.coupling_fn`. It differs for molecules only, whose atoms
        are not divided.
        """
        owned = self._all_own(params, atoms)
        moments = self._long_range(params, atoms, owned).effective
        along = vdot(field, sum_of_dipoles(moments.dipoles, field.dtype))
        along += self._coupling_of_charges(params, atoms, owned.share, field)
        return self.factor_fn(params, atoms) * along + net_charge_coupling(field, atoms)

    def moments_fn(self, params: Params, atoms: SharedAtoms) -> Multipoles:
        """Latent moments of all atoms, induced ones included."""
        owned = self._all_own(params, atoms)
        own, places = owned.atoms, atoms.domain.atom[:, : atoms.domain.first].reshape(-1)

        def in_order(array):
            inside = jnp.expand_dims(own.mask, range(1, array.ndim))
            every = jnp.zeros((len(atoms.positions), *array.shape[1:]), array.dtype)
            return every.at[places].add(jnp.where(inside, array, 0.0))

        return jax.tree.map(in_order, self._long_range(params, atoms, owned).effective)

    def factor_fn(self, params: Params, atoms: SharedAtoms) -> Float[Array, ""]:
        """The factor from latent to physical moments; constant in positions and cell."""
        screening = self.config.screening
        if screening == ScreeningConfig():
            return jnp.ones((), atoms.positions.dtype)
        own = self._all_own(params, lax.stop_gradient(atoms)).atoms
        numbers = atoms.domain.numbers[:, : atoms.domain.first].reshape(-1)
        cell, fixed = lax.stop_gradient(atoms.cell), self.config.fixes_sign(atoms.total_charge)
        known = numbers, own.mask, cell, atoms.open_axis < 0, fixed
        return physical_factor(Latent(own.moments, own.response), *known, screening)

    def crowds(self, atoms: SharedAtoms) -> Int[Array, " devices"]:
        """Most neighbours of an atom within the cutoff, for every device."""
        cutoff = self.config.backbone.cutoff

        def on_device(atoms):
            return near_neighbors(atoms.domain, atoms.positions, atoms.cell, cutoff)[1][None]

        return self._shared(on_device, atoms)

    def search(self, plan: SearchPlan, atoms: SharedAtoms) -> tuple[Domain, Array]:
        """The lists of all devices for new positions, and where something may be missing."""
        reach = reach_of(self.config)

        def on_device(atoms):
            places = self._numbers, atoms.positions, atoms.cell
            found = search_domain(plan, atoms.domain, *places, reach)
            return jax.tree.map(lambda array: array[None], found)

        return self._shared(on_device, atoms)

    def _shared(self, function, atoms: SharedAtoms, *everywhere):
        """`function(atoms of a device, *everywhere)` on every device, results joined."""

        def on_device(atoms, *everywhere):
            domain = jax.tree.map(lambda array: array[0], atoms.domain)
            return function(replace(atoms, domain=domain), *everywhere)

        specs = SharedAtoms(*[WHOLE] * 6, OWN)
        return jax.shard_map(
            on_device,
            mesh=self._mesh,
            in_specs=(specs, *[WHOLE] * len(everywhere)),
            out_specs=OWN,
            check_vma=False,
        )(atoms, *everywhere)

    def _all_own(self, params, atoms) -> Owned:
        def on_device(atoms, params):
            own = self._own(params, atoms)
            return own._replace(short_range=jnp.sum(own.short_range)[None])

        own, charges = self._shared(on_device, atoms, params), self.config.charges
        if charges is None or charges.total == "free":
            return Owned(own, None)
        latent = Latent(own.moments, own.response)
        share = missing_share(latent, own.mask, atoms.total_charge, self.config)
        return Owned(self._with_share(own, share), share)

    def _with_share(self, own: OwnAtoms, share) -> OwnAtoms:
        """Atoms whose charges are shifted to the total charge."""
        if share is None:
            return own
        latent = Latent(own.moments, own.response)
        return own._replace(moments=with_share(latent, share, own.mask, self.config).moments)

    def _own(self, params, atoms: SharedAtoms, bloch=None) -> OwnAtoms:
        """Network output of the own atoms of a device."""
        places, cutoff = (atoms.positions, atoms.cell), self.config.backbone.cutoff
        domain, _ = near_neighbors(atoms.domain, *places, cutoff)
        return own_atoms(self._potential, params, domain, *places, bloch)

    def _long_range(self, params, atoms, owned: Owned, field=None) -> Enthalpy:
        config, own = self.config.electrostatics, owned.atoms

        def interaction(moments: Multipoles) -> Array:
            energy = self._lattice_energy(moments, own.places, atoms)
            return without_self(energy, moments, config)

        return enthalpy(
            interaction,
            own.moments,
            own.places,
            own.response,
            field,
            periodic=True,
            mask=own.mask,
            coupling=lambda field, _: self._coupling_of_charges(
                params, atoms, owned.share, field
            ),
        )

    def _lattice_energy(self, moments, places, atoms: SharedAtoms) -> Array:
        """Energy of the lattice sum, self-interaction included, eV."""
        config, plan = self.config.electrostatics, atoms.plan

        def on_device(moments, places, cell, slab, centre):
            sums = rank_sums(moments, places, cell, plan, config, slab, centre)
            return jax.tree.map(lambda array: array[None], sums)

        # The energy of a slab does not depend on the centre.
        centre = lax.stop_gradient(jnp.mean(atoms.positions, axis=0))
        sums = jax.shard_map(
            on_device,
            mesh=self._mesh,
            in_specs=(OWN, OWN, WHOLE, WHOLE, WHOLE),
            out_specs=OWN,
            check_vma=False,
        )(moments, places, atoms.cell, atoms.slab, centre)
        total = jax.tree.map(lambda array: jnp.sum(array, axis=0), sums)
        return energy_of_rank_sums(total, atoms.cell, plan, config, atoms.slab)

    def _coupling_of_charges(self, params, atoms, share, field) -> Array:
        """E . P of the charges, with exact derivatives; a sum over atoms, so over devices."""

        def on_device(atoms, params, field):
            return self._coupling(field, params, atoms)[None]

        return jnp.sum(self._shared(on_device, atoms, (params, share), field))

    def _charges(self, params, atoms: SharedAtoms, bloch) -> Float[Array, " atoms"]:
        """Charges of the own atoms of a device, e, zero for all others.

        `params` are those of the model and a share of the missing charge. The share depends on
        no phase of a Bloch wave: a uniform shift transports no charge.
        """
        params, share = params
        own = self._with_share(self._own(params, atoms, bloch), share)
        charges = summed_channels(own.moments.charges)
        places = atoms.domain.atom[: atoms.domain.first]
        return jnp.zeros(len(atoms.positions), charges.dtype).at[places].add(charges)
