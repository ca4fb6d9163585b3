"""A model bound to the atoms of a simulation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jles.errors import InputError
from jles.models.atoms import charge_of, check_atoms, check_elements
from jles.models.potential import Params, Potential
from jles.models.state import labels_of
from jles.structures.batch import build_structure, on_device
from jles.structures.neighbors import NeighborTable
from jles.structures.structure import Structure


class Bound(NamedTuple):
    """A model and what stays the same during a simulation.

    Attributes:
        potential: the functions of the model.
        params: its parameters; None if they are given with every call.
        structure: the atoms, without neighbours and without a plan of the sum.
        pbc: three booleans.
        dtype: of the model.
    """

    potential: Potential
    params: Params | None
    structure: Structure
    pbc: tuple[bool, bool, bool]
    dtype: np.dtype

    @property
    def cutoff(self) -> float:
        """Of the neighbours, angstrom."""
        return self.potential.config.backbone.cutoff

    def positions(self, positions):
        """In the precision of the model."""
        return jnp.asarray(positions, self.dtype)

    def cell(self, box=None):
        """Rows are lattice vectors; the cell of the atoms if `box` is None.

        Args:
            box: as in jax-md: an edge, three edges, or a matrix whose *columns* are lattice
                vectors. Clusters have none, and the open vector of a slab is not read: it stays
                that of the atoms.

        Raises:
            InputError: another shape, or the transposed cell.
        """
        own = self.structure.cell
        if box is None or not any(self.pbc):
            return own
        if jnp.shape(box) not in ((), (1,), (3,), (3, 3)):
            raise InputError(f"box has shape {jnp.shape(box)}; it must be (), (3,) or (3, 3)")
        if jnp.ndim(box) < 2:
            rows = jnp.eye(3, dtype=self.dtype) * jnp.asarray(box, self.dtype)
        else:
            self._refuse_transposed(box)
            rows = jnp.asarray(box, self.dtype).T
        return jnp.where(np.array(self.pbc)[:, None], rows, own)

    def _refuse_transposed(self, box) -> None:
        if isinstance(box, jax.core.Tracer):
            return
        own, box, known = np.asarray(self.structure.cell), np.asarray(box), list(self.pbc)
        as_rows, as_columns = (np.abs(cell - own)[known].max() for cell in (box, box.T))
        if as_rows < 0.1 * as_columns:
            raise InputError(
                "box: its rows are the lattice vectors, but those of jax-md are the columns; "
                "give atoms.cell.array.T"
            )

    def planned(self, positions, cell, table: NeighborTable, margin: float) -> Structure:
        """The structure with a plan of the electrostatic sum, made on the host."""
        sums = self.potential.config.sum_options | {"margin": margin}
        return build_structure(
            np.asarray(self.structure.numbers),
            positions,
            cell,
            self.pbc,
            cutoff=self.cutoff,
            neighbors=table,
            wrapped=False,
            dtype=self.dtype,
            **sums,
        )

    def parameters(self, params: Params | None) -> Params:
        """The parameters of the model, or others.

        Raises:
            InputError: there are none.
        """
        if params is not None:
            return params
        if self.params is None:
            raise InputError("params: a Potential has no parameters of its own; give params=")
        return self.params


def bind(model, atoms) -> Bound:
    """A model bound to atoms; an object that is bound already is returned.

    Args:
        model: a `Model`, or a `Potential`.
        atoms: `ase.Atoms`.

    Raises:
        InputError: another object, a float64 model in float32 JAX, an element the model does
            not know, or geometry that cannot be right.
    """
    if isinstance(model, Bound):
        return model
    potential = getattr(model, "potential", model)
    if not isinstance(potential, Potential):
        raise InputError(
            f"jles.jax_md takes a Model or a Potential, got {type(model).__name__}"
        )
    where = getattr(model, "where", "the model")
    dtype = np.dtype(getattr(model, "dtype", jax.dtypes.canonicalize_dtype(float)))
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            f"{where} is float64 but JAX computes in float32 here: call "
            'jax.config.update("jax_enable_x64", True) first, or load it as float32'
        )
    check_atoms(atoms)
    check_elements(atoms, potential.config, where)
    if hasattr(model, "check_charge"):
        model.check_charge(atoms)
    charge = model.total_charge(atoms) if hasattr(model, "total_charge") else charge_of(atoms)
    key = getattr(model, "state_key", "state")
    count = len(atoms)
    alone = NeighborTable(
        np.arange(count, dtype=np.int32)[:, None],
        np.zeros((count, 1, 3), np.int32),
        np.zeros((count, 1), bool),
    )
    structure = build_structure(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=potential.config.backbone.cutoff,
        total_charge=charge,
        state=labels_of(atoms, potential.config.state, key, where),
        neighbors=alone,
        wrapped=False,
        dtype=dtype,
        **potential.config.sum_options,
    )
    pbc = tuple(bool(p) for p in atoms.pbc)
    params = getattr(model, "params", None)
    return Bound(potential, params, on_device(structure), pbc, dtype)
