"""Charge and spin state of the atoms: from ASE atoms to the inputs of a network."""

import jax.numpy as jnp
import numpy as np
from ase.symbols import Symbols
from jaxtyping import Array, Float, Int

from jles.errors import InputError
from jles.models.state_config import StateConfig
from jles.structures.labels import whole_labels
from jles.structures.structure import Structure


def state_inputs(
    config: StateConfig | None, structure: Structure
) -> Float[Array, "atoms inputs"] | None:
    """The charge, then a one-hot encoding of the label, of every atom; None without a state.

    Args:
        config: of the model.
        structure: one structure, with labels where the configuration has them.
    """
    if config is None:
        return None
    dtype, parts = structure.positions.dtype, []
    if config.total_charge is not None:
        charge = structure.total_charge
        if config.total_charge == "mean":
            charge = charge / jnp.maximum(jnp.sum(structure.mask, dtype=dtype), 1.0)
        parts.append(jnp.where(structure.mask, charge, 0.0)[:, None])
    if config.labels:
        table = jnp.asarray(config.labels, jnp.int32)
        parts.append((structure.state[:, None] == table) & structure.mask[:, None])
    return jnp.concatenate([part.astype(dtype) for part in parts], axis=1)


def reduced_formula(numbers) -> tuple[str, int]:
    """The reduced formula of atoms, such as H2O, and how many of its units they are."""
    formula, units = Symbols(np.asarray(numbers)).formula.reduce()
    return str(formula.convert("hill")), units


def labels_of(atoms, config: StateConfig | None, key: str, where: str):
    """The labels of ASE atoms: `atoms.arrays[key]`, or one `atoms.info[key]` for all atoms.

    Args:
        atoms: of ASE.
        config: of the model.
        key: name of the labels.
        where: name of the model in errors.

    Returns:
        (atoms,), or None where the model reads no labels.

    Raises:
        InputError: as `checked_labels`.
    """
    if config is None or not config.labels:
        return None
    return checked_labels(
        atoms.arrays.get(key, atoms.info.get(key)), len(atoms), config, key, where
    )


def checked_labels(
    value, count: int, config: StateConfig, key: str, where: str = "the model"
) -> Int[np.ndarray, " atoms"]:
    """Labels of all atoms, each of them in the table of the model.

    Args:
        value: one label for each atom, or one for all; None if there are none.
        count: number of atoms.
        config: of the model.
        key: name of the labels in files.
        where: name of the model.

    Raises:
        InputError: there are no labels, a label is not an integer, or it is not in the table.
    """
    known = ", ".join(map(str, config.labels))
    if value is None:
        raise InputError(
            f"no '{key}', but {where} needs a label of every atom, one of {known} "
            "(model.state.labels)"
        )
    labels = whole_labels(value, count, key)
    unknown = np.flatnonzero(~np.isin(labels, config.labels))
    if len(unknown):
        raise InputError(
            f"'{key}' of atom {unknown[0]} is {labels[unknown[0]]}; {where} knows {known} "
            "(model.state.labels)"
        )
    return labels
