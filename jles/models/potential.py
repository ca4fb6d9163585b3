"""The assembled potential: pure functions of `(params, structure)` and nothing else."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.models.cace import Cace, n_features
from jles.models.config import ModelConfig
from jles.models.long_range import equilibrated_charges, long_range_energy
from jles.models.readouts import Readout
from jles.observables.polarization import cluster_dipole
from jles.structures.structure import Structure, neighbor_vectors

Params = dict


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
        charges_fn: `(params, structure) -> (atoms, channels)`, e; no channels without charges.
        dipole_fn: `(params, structure) -> (3,)`, e angstrom, of a cluster.
        features_fn: `(params, structure) -> (atoms, features)`, the backbone's own invariants, not
            normalized.
    """

    config: ModelConfig
    init: Callable[..., Params]
    energy_fn: Callable[[Params, Structure], Array]
    parts_fn: Callable[[Params, Structure], EnergyParts]
    charges_fn: Callable[[Params, Structure], Array]
    dipole_fn: Callable[[Params, Structure], Array]
    features_fn: Callable[[Params, Structure], Array]


def build_potential(config: ModelConfig) -> Potential:
    """Assembles backbone, read-outs and electrostatics as `config` says."""
    backbone = Cace(config.backbone, len(config.elements))
    energy_readout = Readout(config.energy, start_at_zero=True)
    charge_readout = Readout(config.charges, config.charges.outputs) if config.charges else None
    species_of = _species_table(config)

    def init(key, dtype=jnp.float32) -> Params:
        keys = jax.random.split(key, 3)
        vectors = jnp.ones((1, 1, 3), dtype)
        indices, present = jnp.zeros((1, 1), int), jnp.ones((1, 1), dtype)
        species = jnp.zeros(1, int)
        features = jnp.ones((1, n_features(config.backbone)), dtype)
        params = {
            "backbone": backbone.init(keys[0], vectors, indices, present, species),
            "energy": energy_readout.init(keys[1], features),
        }
        if charge_readout is not None:
            params["charges"] = charge_readout.init(keys[2], features)
        params = {name: dict(variables)["params"] for name, variables in params.items()}
        if config.normalize_features:
            width = features.shape[1]
            params["features"] = {
                "mean": jnp.zeros(width, dtype),
                "scale": jnp.full(width, width**-0.5, dtype),
            }
            # Normalized features have length one, not one each: see feature_statistics.
            for name in set(params) & {"energy", "charges"}:
                first = params[name]["perceptron"]["layers_0"]
                first["kernel"] = first["kernel"] * math.sqrt(width)
        return params

    def raw_features_fn(params, structure):
        vectors = neighbor_vectors(structure)
        return backbone.apply(
            {"params": params["backbone"]},
            vectors,
            structure.neighbor_index,
            structure.neighbor_mask.astype(vectors.dtype),
            jnp.asarray(species_of)[structure.numbers],
        )

    def features_fn(params, structure):
        features = raw_features_fn(params, structure)
        if not config.normalize_features:
            return features
        constants = jax.lax.stop_gradient(params["features"])
        return (features - constants["mean"]) * constants["scale"]

    def charges_and_energy(params, features, structure):
        """Latent charges, and a function that gives their energy."""
        values = charge_readout.apply({"params": params["charges"]}, features)
        if config.charges.method == "equilibrated":
            found = equilibrated_charges(values, structure, config.electrostatics)
            return found.charges[:, None], lambda: found.energy
        charges = _constrain_total(values, structure, config.charges.total)
        return charges, lambda: long_range_energy(charges, structure, config.electrostatics)

    def parts_fn(params, structure):
        features = features_fn(params, structure)
        atomic = energy_readout.apply({"params": params["energy"]}, features)[:, 0]
        short = jnp.sum(jnp.where(structure.mask, atomic, 0.0))
        if charge_readout is None:
            return EnergyParts(short, jnp.zeros_like(short))
        _, long_range = charges_and_energy(params, features, structure)
        return EnergyParts(short, long_range())

    def energy_fn(params, structure):
        return sum(parts_fn(params, structure))

    def charges_fn(params, structure):
        features = features_fn(params, structure)
        if charge_readout is None:
            return jnp.zeros((features.shape[0], 0), features.dtype)
        return charges_and_energy(params, features, structure)[0]

    def dipole_fn(params, structure):
        return cluster_dipole(charges_fn(params, structure), structure.positions, structure.mask)

    return Potential(config, init, energy_fn, parts_fn, charges_fn, dipole_fn, raw_features_fn)


def _constrain_total(charges, structure, total: str):
    """Zero on padding; where asked, the same shift for every atom makes the sum right."""
    weight = structure.mask[:, None].astype(charges.dtype)
    charges = charges * weight
    if total == "free":
        return charges
    missing = structure.total_charge - jnp.sum(charges)
    count = jnp.maximum(jnp.sum(weight), 1.0) * charges.shape[1]
    return charges + weight * (missing / count)


def _species_table(config: ModelConfig) -> np.ndarray:
    """Atomic number -> place in the element list; padding (0) takes the first place."""
    table = np.zeros(max(config.numbers) + 1, np.int32)
    table[list(config.numbers)] = np.arange(len(config.numbers))
    return table


def without_long_range(config: ModelConfig) -> ModelConfig:
    """The same network with no latent charges: what the long-range part is measured against."""
    return replace(config, charges=None)
