"""All that a model says of one structure, as one traced function of what is wanted."""

from dataclasses import replace

import jax.numpy as jnp

from jles.electrostatics.multipoles import summed_channels
from jles.electrostatics.response.applied_field import sum_of_dipoles
from jles.models.potential import (
    Potential,
    coupling_at,
    polarizability_at,
    strained_coupling_at,
)
from jles.observables.born_charges import born_charges, coupling_of, wave_born_charges
from jles.observables.piezoelectricity import piezoelectric_tensor
from jles.observables.polarizability import polarizability_derivative
from jles.observables.polarization import cluster_quadrupole
from jles.observables.stress import energy_and_forces, energy_forces_stress
from jles.structures.structure import Structure


def outputs(
    potential: Potential, params, structure: Structure, field, want: frozenset, born_mode: str
) -> dict:
    """Arrays by name, padding included; `want` and `born_mode` are static."""

    def energy_fn(moved, field=field):
        if field is None:
            return potential.energy_fn(params, moved)
        return potential.enthalpy_fn(params, moved, field)

    out = {}
    if "stress" in want:
        out = energy_forces_stress(energy_fn, structure, field)._asdict()
    elif "forces" in want:
        out["energy"], out["forces"] = energy_and_forces(energy_fn, structure)
    elif "energy" in want:
        out["energy"] = energy_fn(structure)
    if {"charges", "dipoles", "quadrupoles", "quadrupole"} & want:
        out |= _moments(potential, params, structure, want)
    in_field = field is not None and structure.plan.periodic
    if in_field or {"dipole", "polarization", "born_charges", "piezoelectric"} & want:
        out["bare_charges"] = summed_channels(potential.moments_fn(params, structure).charges)
    if in_field or {"dipole", "polarization", "born_charges", "polarizability"} & want:
        out["factor"] = potential.factor_fn(params, structure)
    if {"dipole", "polarization"} & want:
        out["dipole"] = out["polarization"] = potential.dipole_fn(params, structure)
    if "born_charges" in want:
        born = {"exact": _exact_born, "published": _published_born}[born_mode]
        out["born_charges"] = born(potential, params, structure)
    if "polarizability" in want:
        out["polarizability"] = polarizability_at(potential, params, structure)
    if "polarizability_derivative" in want:

        def of_places(places):
            return polarizability_at(potential, params, replace(structure, positions=places))

        out["polarizability_derivative"] = polarizability_derivative(
            of_places, structure.positions
        )
    if "piezoelectric" in want:
        coupling = strained_coupling_at(potential, params, structure)
        out["piezoelectric"] = piezoelectric_tensor(
            coupling, structure.positions, structure.cell
        )
    if "energy_parts" in want:
        out["energy_parts"] = potential.parts_fn(params, structure, field)._asdict()
    if "features" in want:
        out["features"] = potential.features_fn(params, structure).invariants
    return out


def _moments(potential, params, structure, want) -> dict:
    moments = potential.moments_fn(params, structure)
    factor = potential.factor_fn(params, structure)
    sign = jnp.sign(factor)
    # Arrays of charges alone keep their channels.
    out = {"charges": sign * moments.charges.reshape(len(structure.mask), -1)}
    if "dipoles" in want:
        out["dipoles"] = sign * moments.dipoles
    if "quadrupoles" in want:
        out["quadrupoles"] = sign * moments.quadrupoles
    if "quadrupole" in want:
        whole = cluster_quadrupole(moments, structure.positions, structure.mask)
        out["quadrupole"] = factor * whole
    return out


def _exact_born(potential, params, structure):
    return born_charges(coupling_at(potential, params, structure), structure.positions)


def _published_born(potential, params, structure):
    """Finite wave vectors for the charges of a crystal; everything else has but one formula."""
    if not structure.plan.periodic:
        return _exact_born(potential, params, structure)
    dtype = structure.positions.dtype

    def moments(positions):
        return potential.moments_fn(params, replace(structure, positions=positions))

    waves = wave_born_charges(
        lambda positions: summed_channels(moments(positions).charges),
        structure.positions,
        structure.cell,
        structure.mask,
    )
    dipoles = born_charges(
        coupling_of(lambda positions: sum_of_dipoles(moments(positions).dipoles, dtype)),
        structure.positions,
    )
    return potential.factor_fn(params, structure) * (waves + dipoles)
