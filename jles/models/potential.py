"""The assembled potential: pure functions of `(params, structure)` and nothing else."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.bloch.crystal_coupling import crystal_coupling
from jles.bloch.weighted import bloch_vectors, bloch_weight
from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.response.applied_field import Enthalpy, enthalpy, sum_of_dipoles
from jles.errors import InputError
from jles.models.backbones.cace import Cace, Features
from jles.models.config import HEADS, ModelConfig, ScreeningConfig
from jles.models.latent import Latent, LatentHeads, physical_factor
from jles.models.long_range import (
    carried_answer,
    equilibrated_enthalpy,
    long_range_interaction,
)
from jles.models.readouts import Readout
from jles.observables.polarizability import polarizability
from jles.observables.polarization import cluster_dipole
from jles.structures.structure import Structure

Params = dict

TURNING = ("vectors", "tensors")
"""Features that turn with the atoms."""


class EnergyParts(NamedTuple):
    """Energies by origin, eV; element energies are not in them."""

    short_range: Float[Array, ""]
    long_range: Float[Array, ""]


class Potential(NamedTuple):
    """A model as pure functions; give any of them to `jit`, `vmap`, `grad` or an integrator.

    Attributes:
        config: what was assembled.
        init: `init(key, dtype) -> params`.
        energy_fn: `(params, structure) -> eV`, without element energies.
        parts_fn: `(params, structure) -> EnergyParts`.
        enthalpy_fn: `(params, structure, field) -> eV` in a field, V/angstrom; see
            `electrostatics.enthalpy`.
        moments_fn: `(params, structure) -> Multipoles`, effective, latent.
        charges_fn: `(params, structure) -> (atoms, channels)`, e, of the permanent moments; no
            channels without charges.
        dipole_fn: `(params, structure) -> (3,)`, e angstrom: -dH/dE at zero field; of a crystal on
            the branch of its positions, with exact derivatives.
        factor_fn: `(params, structure) -> ()`: physical moments are latent ones times this, which
            enthalpy, dipole and coupling contain; 1 unless `config.screening` says otherwise.
        coupling_fn: `(params, structure, field) -> E . P`, the same as a scalar: its reverse mode
            costs one pass where that of `dipole_fn` costs one a component.
        features_fn: `(params, structure) -> Features`, the backbone's own, not normalized.
    """

    config: ModelConfig
    init: Callable[..., Params]
    energy_fn: Callable[[Params, Structure], Array]
    parts_fn: Callable[[Params, Structure], EnergyParts]
    enthalpy_fn: Callable[..., Array]
    moments_fn: Callable[[Params, Structure], Multipoles]
    charges_fn: Callable[[Params, Structure], Array]
    dipole_fn: Callable[[Params, Structure], Array]
    factor_fn: Callable[[Params, Structure], Array]
    coupling_fn: Callable[..., Array]
    features_fn: Callable[[Params, Structure], Features]


def build_potential(config: ModelConfig) -> Potential:
    """Assembles backbone, read-outs and electrostatics as `config` says."""
    backbone = Cace(config.backbone, len(config.elements))
    energy_readout = Readout(config.energy, start_at_zero=True)
    heads = LatentHeads(config)
    species_of = _species_table(config)
    equilibrated = config.charges is not None and config.charges.method == "equilibrated"

    def init(key, dtype=jnp.float32) -> Params:
        keys = jax.random.split(key, 3)
        vectors = jnp.ones((1, 1, 3), dtype)
        indices, present = jnp.zeros((1, 1), int), jnp.ones((1, 1), dtype)
        inputs = vectors, indices, present, jnp.zeros(1, int)
        features, variables = backbone.init_with_output(keys[0], *inputs)
        features = jax.tree.map(jnp.ones_like, features)
        readout = energy_readout.init(keys[1], features.invariants)
        params = {
            "backbone": dict(variables)["params"],
            "energy": dict(readout)["params"],
            **heads.init(keys[2], features),
        }
        if config.normalize_features:
            params["features"] = _unit_normalization(config, features)
            # Normalized features have length one, not one each: see feature_statistics.
            factor = math.sqrt(features.invariants.shape[1])
            for name in sorted(set(params) - {"backbone", "features"}):
                params[name] = _scale_first_layers(params[name], factor)
        return params

    def raw_features_fn(params, structure, bloch=None):
        vectors = bloch_vectors(structure, bloch)
        return backbone.apply(
            {"params": params["backbone"]},
            vectors,
            structure.neighbor_index,
            structure.neighbor_mask.astype(vectors.dtype),
            jnp.asarray(species_of)[structure.numbers],
            bloch_weight(vectors, bloch),
        )

    def features_fn(params, structure, bloch=None):
        features = raw_features_fn(params, structure, bloch)
        if not config.normalize_features:
            return features
        return _normalized(features, jax.lax.stop_gradient(params["features"]))

    def short_range(params, features, structure):
        atomic = energy_readout.apply({"params": params["energy"]}, features.invariants)[:, 0]
        return jnp.sum(jnp.where(structure.mask, atomic, 0.0))

    def carried_charges(params, structure, bloch):
        """Effective charges (atoms,) of a crystal, carried where there is a wave."""
        if equilibrated:
            raise InputError(
                "charges.method 'equilibrated' in a crystal: charge flows through it as through a "
                "metal, there is no polarization"
            )
        if config.charge_softness is not None and config.response.mode == "self-consistent":
            raise InputError(
                "charge_softness with response.mode 'self-consistent': soft charges of a crystal "
                "that see one another answer like a metal, there is no coupling to a field"
            )
        still = features_fn(params, structure)
        features = still if bloch is None else features_fn(params, structure, bloch)
        latent = heads.latent(params, features, structure, bloch, still)
        charges = latent.moments.charges
        if config.charge_softness is not None:
            fixed = heads.latent(params, still, structure)
            charges += carried_answer(latent, fixed, structure, config.electrostatics, bloch)
        return summed_channels(charges)

    flow = crystal_coupling(carried_charges, to_second_order=config.charge_softness is None)

    def coupling_of(params, structure):
        """The function E . P of charges: of a crystal that of its flowing charges."""

        def coupling(field, charges):
            if structure.plan.periodic and not structure.plan.cluster:
                return flow(field, params, structure)
            plain = field @ cluster_dipole(charges, structure.positions, structure.mask)
            if not structure.plan.periodic:
                return plain
            return jnp.where(structure.periodic, flow(field, params, structure), plain)

        return coupling

    def long_range(params, features, structure, field=None) -> Enthalpy:
        """Enthalpy of the latent moments and what they become; the field is a latent one."""
        if equilibrated:
            return equilibrated_enthalpy(
                heads.values(params, "charges", features),
                structure,
                config.electrostatics,
                field,
            )
        latent = heads.latent(params, features, structure)
        return enthalpy(
            long_range_interaction(structure, config.electrostatics),
            latent.moments,
            structure.positions,
            latent.response,
            field,
            periodic=structure.periodic if structure.plan.periodic else False,
            mask=structure.mask,
            coupling=coupling_of(params, structure),
        )

    def factor_fn(params, structure):
        """Constant in places and cell: a property of the material; parameters do change it."""
        one = jnp.ones((), structure.positions.dtype)
        if config.charges is None or config.screening == ScreeningConfig():
            return one
        structure = jax.lax.stop_gradient(structure)
        features = features_fn(params, structure)
        if equilibrated:
            latent = Latent(long_range(params, features, structure).effective, None)
        else:
            latent = heads.latent(params, features, structure)
        return physical_factor(latent, structure, config.screening)

    def parts_fn(params, structure, field=None):
        features = features_fn(params, structure)
        short = short_range(params, features, structure)
        if config.charges is None:
            return EnergyParts(short, jnp.zeros_like(short))
        if field is not None:
            field = factor_fn(params, structure) * field
        return EnergyParts(short, long_range(params, features, structure, field).energy)

    def enthalpy_fn(params, structure, field=None):
        return sum(parts_fn(params, structure, field))

    def energy_fn(params, structure):
        return enthalpy_fn(params, structure)

    def moments_fn(params, structure):
        features = features_fn(params, structure)
        answers = config.charge_softness is not None or config.polarizability is not None
        if equilibrated or answers:
            return long_range(params, features, structure).effective
        return heads.latent(params, features, structure).moments

    def charges_fn(params, structure):
        if config.charges is None:
            return jnp.zeros((len(structure.mask), 0), structure.positions.dtype)
        if equilibrated:
            return moments_fn(params, structure).charges[:, None]
        features = features_fn(params, structure)
        charges = heads.latent(params, features, structure).moments.charges
        return charges.reshape(len(charges), -1)

    def coupling_fn(params, structure, field):
        moments = moments_fn(params, structure)
        along = field @ sum_of_dipoles(moments.dipoles, field.dtype)
        along += coupling_of(params, structure)(field, moments.charges)
        return factor_fn(params, structure) * along

    def dipole_fn(params, structure):
        axes = jnp.eye(3, dtype=structure.positions.dtype)
        if config.charges is None:
            return jnp.zeros_like(axes[0])
        return jnp.stack([coupling_fn(params, structure, axis) for axis in axes])

    return Potential(
        config,
        init,
        energy_fn,
        parts_fn,
        enthalpy_fn,
        moments_fn,
        charges_fn,
        dipole_fn,
        factor_fn,
        coupling_fn,
        raw_features_fn,
    )


def coupling_at(potential: Potential, params: Params, structure: Structure):
    """E . P as a function of positions and field: what `born_charges` and its kin take."""
    coupling = strained_coupling_at(potential, params, structure)
    return lambda positions, field: coupling(positions, structure.cell, field)


def strained_coupling_at(potential: Potential, params: Params, structure: Structure):
    """The same as a function of positions, cell and field: what `piezoelectric_tensor` takes."""

    def coupling(positions, cell, field):
        moved = replace(structure, positions=positions, cell=cell)
        return potential.coupling_fn(params, moved, field)

    return coupling


def polarizability_at(potential: Potential, params: Params, structure: Structure):
    """Polarizability of the whole structure at zero field, e angstrom^2/V, (3, 3)."""
    return polarizability(
        lambda field: potential.enthalpy_fn(params, structure, field),
        jnp.zeros(3, structure.positions.dtype),
    )


def _unit_normalization(config: ModelConfig, features: Features) -> dict:
    """What normalization starts with, before any data were seen."""
    width, dtype = features.invariants.shape[1], features.invariants.dtype
    constants = {"mean": jnp.zeros(width, dtype), "scale": jnp.full(width, width**-0.5, dtype)}
    tensor = config.polarizability is not None and config.polarizability.kind == "tensor"
    used = config.dipoles is not None, config.quadrupoles is not None or tensor
    for name, is_used in zip(TURNING, used, strict=True):
        if is_used:
            constants[f"{name}_scale"] = jnp.ones(getattr(features, name).shape[1], dtype)
    return constants


def _normalized(features: Features, constants: dict) -> Features:
    """Invariants shifted and scaled; what turns may only be scaled."""
    invariants = (features.invariants - constants["mean"]) * constants["scale"]
    scaled = {}
    for name in TURNING:
        turning, scale = getattr(features, name), constants.get(f"{name}_scale")
        if turning is not None and scale is not None:
            turning = turning * scale.reshape(-1, *[1] * (turning.ndim - 2))
        scaled[name] = turning
    return Features(invariants, **scaled)


def _scale_first_layers(readout: dict, factor: float) -> dict:
    """The same read-out with the first layer of every perceptron in it multiplied."""
    scaled = {}
    for name, value in readout.items():
        if name == "layers_0":
            scaled[name] = value | {"kernel": value["kernel"] * factor}
        elif isinstance(value, dict):
            scaled[name] = _scale_first_layers(value, factor)
        else:
            scaled[name] = value
    return scaled


def _species_table(config: ModelConfig) -> np.ndarray:
    """Atomic number -> place in the element list; padding (0) takes the first place."""
    table = np.zeros(max(config.numbers) + 1, np.int32)
    table[list(config.numbers)] = np.arange(len(config.numbers))
    return table


def without_long_range(config: ModelConfig) -> ModelConfig:
    """The same network with no latent charges: what the long-range part is measured against."""
    return replace(config, charges=None, **dict.fromkeys(HEADS))
