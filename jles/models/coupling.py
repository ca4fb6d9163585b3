"""The coupling E . P of a model's charges, with exact derivatives in periodic structures."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.bloch.crystal_coupling import crystal_coupling, outward_part
from jles.bloch.lattice_potential import bloch_weighted_potential
from jles.electrostatics.multipoles import summed_channels
from jles.electrostatics.response.applied_field import field_on_charge
from jles.errors import InputError
from jles.models.config import ElectrostaticsConfig, ModelConfig
from jles.models.environment import Environments
from jles.models.latent import Latent, LatentHeads
from jles.observables.polarization import cluster_dipole
from jles.products import vdot
from jles.structures.structure import Structure


class ChargeCoupling:
    """E . P of the effective charges of a structure, as `electrostatics.enthalpy` takes it."""

    def __init__(self, config: ModelConfig, environments: Environments, heads: LatentHeads):
        self._config, self._environments, self._heads = config, environments, heads
        self._periodic = crystal_coupling(
            self._charges, to_second_order=config.charge_softness is None
        )

    def at(
        self, params: dict, structure: Structure, local: bool = False
    ) -> Callable[[Array, Array], Array]:
        """The function `(field, charges) -> E . P`, e angstrom times the unit of the field.

        Of a cluster it is the field times the dipole of `charges`. Of a crystal or slab, and
        with `local` also of a cluster, it is `crystal_coupling` of the model's own charges, and
        `charges` is not used.

        Raises:
            InputError: `local`, and the charges of a cluster respond to its potential.
        """
        crystal_alone = structure.plan.periodic and not structure.plan.cluster
        if local and not crystal_alone and self._config.charges_respond:
            raise InputError(
                "born_mode 'local': charges that respond to the potential of a molecule "
                "(kind 'equilibrated', charge_softness) transfer charge over any distance; "
                "take 'exact'"
            )

        def coupling(field, charges):
            if local or crystal_alone:
                return self._periodic(field, params, structure)
            plain = vdot(field, cluster_dipole(charges, structure.positions, structure.mask))
            if not structure.plan.periodic:
                return plain
            crystal = self._periodic(field, params, structure)
            return jnp.where(structure.periodic, crystal, plain)

        return coupling

    def _charges(self, params, structure, bloch):
        """Effective charges (atoms,), with Bloch-weighted derivatives where `bloch` is given.

        Raises:
            InputError: the charges are those of a metal, which has no polarization.
        """
        config = self._config
        if config.charges.kind == "equilibrated":
            raise InputError(
                "charges.kind 'equilibrated' in a crystal: charge flows through it as through "
                "a metal, there is no polarization"
            )
        if config.charge_softness is not None and config.response.mode == "self-consistent":
            raise InputError(
                "charge_softness with response.mode 'self-consistent': soft charges of a "
                "crystal that see one another respond like a metal, "
                "there is no coupling to a field"
            )
        plain = self._environments(params, structure)
        weighted = plain if bloch is None else self._environments(params, structure, bloch)
        latent = self._heads.latent(params, weighted, plain)
        charges = latent.moments.charges
        if config.charge_softness is not None:
            fixed = self._heads.latent(params, plain)
            charges += induced_charges(latent, fixed, structure, config.electrostatics, bloch)
        return summed_channels(charges)


def net_charge_coupling(
    field: Float[Array, " 3"], structure: Structure, local: bool = False
) -> Float[Array, ""]:
    """What makes derivatives of E . P those at a fixed origin; its value is zero.

    Along all directions of a cluster, and along the open one of a slab, `ChargeCoupling` has
    the mean position as its origin, which moves with the atoms: see `field_on_charge`. In
    periodic directions its derivatives have a fixed origin already, and with `local` also in
    clusters.

    Args:
        field: physical, V/angstrom.
        structure: one structure.
        local: as in `ChargeCoupling.at`.
    """
    plan = structure.plan
    along = jnp.zeros_like(field) if local else field
    if plan.periodic:
        slabs = plan.slab is not None
        normal = outward_part(field, structure) if slabs else jnp.zeros_like(field)
        along = jnp.where(structure.periodic, normal, along) if plan.cluster else normal
    return field_on_charge(along, structure.total_charge, structure.positions, structure.mask)


def induced_charges(
    latent: Latent,
    plain: Latent,
    structure: Structure,
    config: ElectrostaticsConfig,
    bloch: Float[Array, " 3"] | None,
) -> Float[Array, " atoms"]:
    """One-shot response of soft charges in a crystal, e, with Bloch-weighted derivatives.

    NaN in a slab, for which `bloch_weighted_potential` is not implemented.

    Args:
        latent: moments and response, with Bloch-weighted derivatives where there is a `bloch`.
        plain: the same with plain derivatives; the mean potential, which is uniform and
            transports no charge, is computed from it.
        structure: the crystal.
        config: of the sum.
        bloch: t, 1/angstrom, see `jles.bloch.weighted`.
    """
    potential_fn = bloch_weighted_potential(
        sigma=config.sigma,
        k_max=config.k_max,
        plan=structure.plan,
        cutoff=config.cutoff,
        remove_self=config.remove_self,
    )
    none = jnp.zeros(3, structure.positions.dtype)

    def potential(moments, wave):
        return potential_fn(moments, structure.positions, structure.cell, wave)

    local = potential(latent.moments, none if bloch is None else bloch)
    if latent.response.conserve_charge:
        softness = plain.response.charge_softness
        total = jnp.sum(softness)
        mean = vdot(softness, potential(plain.moments, none))
        mean /= jnp.where(total > 0.0, total, 1.0)
        local -= mean
    charges = -latent.response.charge_softness * local
    return jnp.where(structure.open_axis >= 0, jnp.nan, charges)
