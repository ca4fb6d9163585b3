"""The catalogue: every quantity that a model predicts.

`jles predict` and `jles evaluate`, the ASE calculator, committees and the table of
docs/predictions.md iterate over `QUANTITIES`. A quantity is added here, or for them by
`QUANTITIES[quantity.name] = quantity` from elsewhere.

Training and dynamics have configurations with one key for every quantity. A label that is
trained on is added here, since the names of labels are read at import, and also to `LossConfig`
(jles/train/config.py) and `LabelKeys` (jles/data/frames.py); a quantity that a run records also
to `RecordConfig` (jles/dynamics/config.py). tests/contracts/test_quantity.py compares them.
"""

import jax.numpy as jnp
import numpy as np

from jles.observables.born_charges import acoustic_sum, obey_sum_rule
from jles.observables.piezoelectricity import piezoelectric_tensor
from jles.observables.polarizability import (
    dielectric_tensor,
    polarizability_derivative,
    polarizability_of,
)
from jles.observables.polarization import cluster_quadrupole
from jles.quantities.quantity import Aside, Host, Label, Quantity
from jles.quantities.refusals import (
    bulk_polarization,
    bulk_response,
    clusters_only,
    crystals_only,
    head,
    periodic_only,
    polarizable,
    strain_response,
    stress_in_field,
)

CHARGED = head()


# --- finished on the host


def _energy(value, host: Host) -> dict:
    return {"energy": float(value) + host.element_energy + host.wrapping_energy}


def _energy_parts(value, host: Host) -> dict:
    parts = {part: float(number) for part, number in value.items()}
    parts["long_range"] += host.wrapping_energy
    return {"energy_parts": parts | {"elements": host.element_energy}}


def _charges(value, host: Host) -> dict:
    return {"charges": value[:, 0] if host.config.charges.channels == 1 else value}


def _polarization(value, host: Host) -> dict:
    if not host.atoms.pbc.any():
        return {"polarization": value}
    quantum = host.atoms.cell.array[host.atoms.pbc].copy()
    return {"polarization": value + host.moved, "polarization_quantum": quantum}


def _born_charges(value, host: Host) -> dict:
    results = {"born_charges": value, "acoustic_sum": acoustic_sum(value)}
    if host.sum_rule:
        every = np.ones(len(value), bool)
        results["born_charges"] = obey_sum_rule(value, every, host.total_charge)
    return results


def _polarizability(value, host: Host) -> dict:
    if not host.atoms.pbc.all():
        return {"polarizability": value}
    hidden = float(host.raw["factor"]) ** 2
    epsilon = dielectric_tensor(value, host.atoms.get_volume(), hidden)
    return {"polarizability": value, "epsilon_infinity": epsilon}


# --- traced


def _signed(at, moments):
    return jnp.sign(at.factor) * moments


def _quadrupole(at):
    places = at.structure.positions, at.structure.mask
    return at.factor * cluster_quadrupole(at.moments, *places)


def _piezoelectric(at):
    return piezoelectric_tensor(at.cell_coupling, at.structure.positions, at.structure.cell)


def _polarizability_of_all_electrons(at):
    """Of a crystal with the electrons that the model does not describe, as in a label."""
    hidden = at.hidden_polarizability()
    return at.polarizability() + jnp.where(at.structure.periodic, hidden, 0.0)


def _predicted_polarizability(prediction, atoms) -> np.ndarray:
    """The same of a `Prediction`."""
    if prediction.epsilon_infinity is None:
        return prediction.polarizability
    return polarizability_of(prediction.epsilon_infinity, atoms.cell.array)


_POLARIZABLE = (CHARGED, bulk_response, polarizable)
_OF_CHARGES = ("bare_charges", "factor")

_ENTRIES = (
    Quantity(
        "energy",
        unit="eV",
        shape=(),
        meaning="energy with element energies; in a field the enthalpy",
        of=lambda at: at.derivative("energy"),
        output="always",
        result=True,
        label=Label(
            "energy", "energy per atom", shown=("meV", 1e3), trained=True, per_atom=True
        ),
        finish=_energy,
    ),
    Quantity(
        "forces",
        unit="eV/angstrom",
        shape=("atoms", 3),
        meaning="forces; in a field with its own",
        of=lambda at: at.derivative("forces"),
        output="always",
        result=True,
        label=Label("forces", "forces", shown=("meV/angstrom", 1e3), trained=True),
    ),
    Quantity(
        "stress",
        unit="eV/angstrom^3",
        shape=(3, 3),
        meaning="stress with the sign of ASE; in a field at fixed voltage",
        owners="crystals, slabs in a cell with a volume",
        of=lambda at: at.derivative("stress"),
        per_volume=True,
        rules=(periodic_only, stress_in_field),
        output="always",
        result=True,
        label=Label("stress", "stress", shown=("meV/angstrom^3", 1e3), trained=True),
    ),
    Quantity(
        "charges",
        unit="e",
        shape=("atoms", "channels"),
        meaning="latent charges, induced ones included; (atoms,) with one channel",
        owners="models with charges",
        of=lambda at: _signed(at, at.moments.charges.reshape(at.structure.mask.shape[0], -1)),
        rules=(CHARGED,),
        odd=True,
        output="always",
        key="latent_charges",
        finish=_charges,
    ),
    Quantity(
        "dipoles",
        unit="e angstrom",
        shape=("atoms", 3),
        meaning="latent dipoles, induced ones included",
        owners="models with `dipoles` or `polarizability`",
        of=lambda at: _signed(at, at.moments.dipoles),
        rules=(head("dipoles", "polarizability"),),
        odd=True,
        output="always",
        key="latent_dipoles",
    ),
    Quantity(
        "quadrupoles",
        unit="e angstrom^2",
        shape=("atoms", 3, 3),
        meaning="latent quadrupoles, traceless",
        owners="models with `quadrupoles`",
        of=lambda at: _signed(at, at.moments.quadrupoles),
        rules=(head("quadrupoles"),),
        odd=True,
        output="always",
        key="latent_quadrupoles",
    ),
    Quantity(
        "born_charges",
        unit="e",
        shape=("atoms", 3, 3),
        meaning="Born effective charges, first index polarization, second displacement",
        owners="models with charges",
        of=lambda at: at.born_charges(),
        rules=(CHARGED, bulk_polarization),
        odd=True,
        polar=True,
        key="bec",
        ase="born_effective_charges",
        label=Label("born_charges", "Born charges", trained=True, by_component=True),
        finish=_born_charges,
        asides={"acoustic_sum": Aside("e", (3, 3), "sum over atoms, before any projection")},
        needs=_OF_CHARGES,
    ),
    Quantity(
        "dipole",
        unit="e angstrom",
        shape=(3,),
        meaning="dipole, of charges less their mean",
        owners="clusters",
        of=lambda at: at.dipole,
        rules=(CHARGED, clusters_only),
        odd=True,
        polar=True,
        output="always",
        result=True,
        label=Label("dipole", "dipole"),
        needs=_OF_CHARGES,
    ),
    Quantity(
        "polarization",
        unit="e angstrom",
        shape=(3,),
        meaning="dipole of the cell, on the branch of the positions; of a cluster its dipole",
        owners="models with charges",
        of=lambda at: at.dipole,
        rules=(CHARGED, bulk_polarization),
        odd=True,
        polar=True,
        output="periodic",
        label=Label(
            "dipole", "polarization, modulo the quantum", trained=True, modulo_quantum=True
        ),
        finish=_polarization,
        asides={
            "polarization_quantum": Aside(
                "e angstrom", ("directions", 3), "e times the periodic lattice vectors, as rows"
            )
        },
        needs=_OF_CHARGES,
    ),
    Quantity(
        "quadrupole",
        unit="e angstrom^2",
        shape=(3, 3),
        meaning="traceless quadrupole about the mean position",
        owners="clusters",
        of=_quadrupole,
        rules=(CHARGED, clusters_only),
        odd=True,
        output="always",
        # Codes give the second moment of the charge, whose trace no read-out has.
        label=Label("quadrupole", "quadrupole, traceless", traceless=True),
    ),
    Quantity(
        "polarizability",
        unit="e angstrom^2/V",
        shape=(3, 3),
        meaning="polarizability of the structure at clamped atoms",
        owners="models with `polarizability`; of clusters also with `charge_softness`",
        of=lambda at: at.polarizability(),
        rules=_POLARIZABLE,
        responds=True,
        label=Label(
            "polarizability",
            "polarizability",
            trained=True,
            by_component=True,
            of=_polarizability_of_all_electrons,
            of_prediction=_predicted_polarizability,
        ),
        finish=_polarizability,
        asides={
            "epsilon_infinity": Aside("1", (3, 3), "dielectric tensor of a crystal's electrons")
        },
        needs=("factor",),
    ),
    Quantity(
        "polarizability_derivative",
        unit="e angstrom/V",
        shape=("atoms", 3, 3, 3),
        meaning="Raman tensors, derivative of the polarizability; last index displacement",
        owners="as `polarizability`",
        of=lambda at: polarizability_derivative(at.polarizability, at.structure.positions),
        rules=_POLARIZABLE,
        responds=True,
        option="--raman",
        key="raman",
    ),
    Quantity(
        "piezoelectric",
        unit="e/angstrom^2",
        shape=(3, 3, 3),
        meaning="proper piezoelectric tensor at clamped atoms, first index polarization",
        owners="crystals",
        of=_piezoelectric,
        rules=(CHARGED, crystals_only, bulk_polarization, strain_response),
        odd=True,
        polar=True,
        needs=_OF_CHARGES,
    ),
    Quantity(
        "energy_parts",
        unit="eV",
        shape=(),
        meaning="energy by origin: `short_range`, `long_range`, `elements`",
        of=lambda at: at.potential.parts_fn(at.params, at.structure, at.field)._asdict(),
        finish=_energy_parts,
    ),
    Quantity(
        "features",
        unit="1",
        shape=("atoms", "features"),
        meaning="invariant features of the backbone",
        of=lambda at: at.potential.features_fn(at.params, at.structure).invariants,
    ),
)

QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _ENTRIES}


def labelled() -> dict[str, Quantity]:
    """Quantities that data may have labels for, by the name of the label.

    Of two quantities with the same label (`dipole` and `polarization`) it is the trained one.
    """
    found = {}
    for quantity in QUANTITIES.values():
        label = quantity.label
        if label and (label.trained or label.name not in found):
            found[label.name] = quantity
    return found


def trained_labels() -> dict[str, Quantity]:
    """Quantities that a loss may contain, by the name of their label."""
    return {name: quantity for name, quantity in labelled().items() if quantity.label.trained}


def asides() -> dict[str, Aside]:
    """Additional results, by the name of the quantity they come with."""
    return {
        name: aside
        for quantity in QUANTITIES.values()
        for name, aside in quantity.asides.items()
    }
