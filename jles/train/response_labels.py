r"""Labels of the electrical response: what a model says of them, and whether it can."""

from collections.abc import Collection, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.data.frames import Frame
from jles.data.loader import RESPONSES
from jles.errors import InputError
from jles.models.config import ModelConfig, is_metallic
from jles.models.potential import Potential, coupling_at, polarizability_at
from jles.observables.born_charges import born_charges
from jles.observables.screening import hidden_polarizability
from jles.structures.structure import Structure


def predict_responses(
    potential: Potential, params, structure: Structure, needed: Collection[str]
) -> dict[str, Array]:
    r"""Those of `RESPONSES` that are needed, of one structure, physical.

    Born charges :math:`\partial P_a/\partial r_{ib}` (atoms, 3, 3) in e, zero on padding; dipole
    (3,) in e angstrom; polarizability :math:`-\partial^2 H/\partial E^2` (3, 3) in e angstrom^2/V,
    of a crystal with that of the electrons that the model does not see.
    """
    values = {}
    if "born_charges" in needed:
        coupling = coupling_at(potential, params, structure)
        values["born_charges"] = born_charges(coupling, structure.positions)
    if "dipole" in needed:
        values["dipole"] = potential.dipole_fn(params, structure)
    if "polarizability" in needed:
        hidden = hidden_polarizability(
            potential.factor_fn(params, structure) ** 2, jnp.abs(jnp.linalg.det(structure.cell))
        )
        values["polarizability"] = polarizability_at(potential, params, structure)
        values["polarizability"] += jnp.where(structure.periodic, hidden, 0.0)
    return values


def nearest_branch(difference: Float[Array, " 3"], structure: Structure) -> Float[Array, " 3"]:
    r"""The difference of two dipoles (e angstrom) modulo the quantum; of a cluster as it is.

    .. math:: d - \sum_a \mathrm{round}(c_a)\, e\, a_a, \quad d = \sum_a c_a\, e\, a_a

    over the periodic directions, rows :math:`a_a` of the cell: polarizations of a crystal that
    differ by a quantum are the same. The integers have no derivative. A model's value is on the
    branch of the wrapped positions, and an atom that crosses the border of the cell changes it by
    its charge times a lattice vector: for charges that are not whole numbers labels agree with it
    only where their atoms are wrapped alike.

    Source: King-Smith and Vanderbilt, Phys. Rev. B 47, 1651 (1993).
    """
    reduced = lax.stop_gradient(difference) @ jnp.linalg.inv(structure.cell)
    repeats = structure.periodic & (jnp.arange(3) != structure.open_axis)
    turns = jnp.where(repeats, jnp.round(reduced), 0.0)
    return difference - jnp.matmul(turns, structure.cell, precision=lax.Precision.HIGHEST)


def check_responses(
    needed: Collection[str], model: ModelConfig, frames: Sequence[Frame]
) -> None:
    """Refuses weights of labels that the model can say nothing of.

    Raises:
        InputError: names the weight and the head that is missing, or the frame that it is missing
            for.
    """
    responses = [name for name in RESPONSES if name in needed]
    for name in responses:
        if model.charges is None:
            raise InputError(
                f"loss.{name} has a weight, but model.charges is null; give the model charges, or "
                f"set loss.{name} to 0"
            )
    if "polarizability" in responses and model.polarizability is None:
        _check_answer(model, frames)
    for frame in frames if responses else ():
        if not frame.pbc.any():
            continue
        what = None
        if is_metallic(model):
            what = "periodic, and through this model's crystals charge flows as through a metal"
        elif model.charge_softness is not None and not frame.pbc.all():
            what = "a slab, of which a model with charge_softness knows no polarization"
        if what:
            raise InputError(
                f"{frame.source}: {what}; take it out, or set loss.{responses[0]} to 0"
            )


def _check_answer(model: ModelConfig, frames: Sequence[Frame]) -> None:
    """Refuses polarizabilities of what does not answer a field in a model without that head."""
    if model.charge_softness is None and model.charges.kind != "equilibrated":
        raise InputError(
            "loss.polarizability has a weight, but nothing in the model answers a field; give it "
            "model.polarizability (or, of clusters, model.charge_softness), or set "
            "loss.polarizability to 0"
        )
    for frame in frames:
        if "polarizability" in frame.labels and frame.pbc.any():
            raise InputError(
                f"{frame.source}: has a polarizability and is periodic, but without "
                "model.polarizability the model answers a field in clusters only; give it one, or "
                "set loss.polarizability to 0"
            )
