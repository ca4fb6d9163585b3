"""New neighbour lists of a domain whose own atoms stay the same; traced."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jles.domains.domain import Domain, Reach, element_rows
from jles.structures.search import SearchPlan, search
from jles.typing import Cell, Positions


def search_domain(
    plan: SearchPlan,
    domain: Domain,
    numbers: Int[np.ndarray, " atoms"],
    positions: Positions,
    cell: Cell,
    reach: Reach,
) -> tuple[Domain, Bool[Array, ""]]:
    """Searches the atoms around the own atoms, and the neighbours of both.

    Args:
        plan: static, with as many slots as the domain.
        domain: of one device.
        numbers: atomic numbers of all atoms.
        positions: of all atoms, angstrom; need not be wrapped.
        cell: rows are lattice vectors with a volume, angstrom.
        reach: of the model.

    Returns:
        The domain, of the same sizes, and whether something may be missing because these sizes
        do not suffice.
    """
    lone = len(domain.atom) - len(reach.elements)
    atom, count, missed = _rows(plan, domain, positions, cell, reach.hops)
    table = search(plan, positions, cell, atom)
    row = jnp.arange(len(atom), dtype=jnp.int32)
    filled = row < jnp.minimum(count, lone)
    present = table.mask & filled[:, None]
    # An atom without a row is represented by the row of its element.
    row_of = jnp.asarray(element_rows(numbers, reach, len(atom)))
    row_of = row_of.at[jnp.where(filled, atom, len(numbers))].set(row, mode="drop")
    of_rows = jnp.where(filled, jnp.asarray(numbers, jnp.int32)[atom], 0)
    new = replace(
        domain,
        atom=jnp.where(filled, atom, 0),
        numbers=of_rows.at[lone:].set(domain.numbers[lone:]),
        neighbor=jnp.where(present, table.index, 0),
        sender=jnp.where(present, row_of[table.index], row[:, None]),
        shift=jnp.where(present[..., None], table.shift, 0),
        present=present,
    )
    return new, missed | table.incomplete | (count > lone)


def _rows(plan: SearchPlan, domain: Domain, positions, cell, hops: int):
    """Own atoms and those up to `hops` hops away, as in `rows_around`.

    Returns:
        Their places among the positions (rows,), their number, which may exceed that of rows,
        and whether an atom may be missing.
    """
    atoms, size = len(positions), len(domain.atom)
    row = jnp.arange(size, dtype=jnp.int32)
    own_count = count = jnp.sum(domain.own)
    own = found = _marked(atoms, domain.atom, domain.own)
    atom, missed = domain.atom, jnp.zeros((), bool)
    for _ in range(hops):
        table = search(plan, positions, cell, atom)
        found |= _marked(atoms, table.index, table.mask & (row < count)[:, None])
        around = jnp.nonzero(found & ~own, size=size, fill_value=atoms)[0]
        place = jnp.where(around < atoms, own_count + row, size)
        atom = jnp.where(domain.own, domain.atom, 0)
        atom = atom.at[place].set(around.astype(atom.dtype), mode="drop")
        count, missed = jnp.sum(found), missed | table.incomplete
    return atom, count, missed


def _marked(count: int, atoms, where) -> Bool[Array, " atoms"]:
    """True for the atoms that occur where `where` is True."""
    return jnp.zeros(count, bool).at[jnp.where(where, atoms, count)].set(True, mode="drop")
