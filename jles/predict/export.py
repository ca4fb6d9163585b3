"""A model as one compiled program that needs JAX alone: `jles.export` (docs/devices.md)."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import Exported
from jax.export import export as jax_export

from jles.electrostatics.plan import plan_serves
from jles.errors import InputError
from jles.models.atoms import structure_of
from jles.models.potential import Potential
from jles.predict.model import Model
from jles.predict.outputs import outputs
from jles.predict.prediction import check_wanted
from jles.quantities.evaluation import Evaluation
from jles.structures.structure import Structure
from jles.structures.symbolic import symbolic_structure

_INTEGERS = ("numbers", "neighbor_index", "neighbor_shift", "state")

CURRENT = "current"
"""dP/dt: not a quantity of a structure, since it needs velocities."""


def export(
    model: Model,
    example,
    want: Sequence[str] = ("energy", "forces"),
    *,
    field: bool = False,
    atoms: int | None = None,
    neighbors: int | None = None,
    margin: float = 0.0,
    platforms: Sequence[str] | None = None,
) -> Exported:
    """A model as a program of `jax.export`, for processes that have JAX but not jles.

    `exported.serialize()` makes bytes, parameters included. `jax.export.deserialize(bytes)`
    gives the program back, and its `call` takes one dict of arrays and returns a dict with the
    `want` values. All arrays may be padded: padding atoms have number 0, padding slots mask
    False. Real arrays have the precision of the model.

    | key | array | |
    |---|---|---|
    | `positions` | (atoms, 3) | Cartesian, angstrom |
    | `cell` | (3, 3) | rows are lattice vectors, angstrom |
    | `numbers` | (atoms,), int32 | atomic numbers |
    | `neighbor_index` | (atoms, neighbors), int32 | of the neighbours of every atom |
    | `neighbor_shift` | (atoms, neighbors, 3), int32 | lattice vectors added to them |
    | `neighbor_mask` | (atoms, neighbors), bool | False for padding slots |
    | `total_charge` | () | e |
    | `state` | (atoms,), int32 | labels; only of models that read them |
    | `slab_height` | () | angstrom; only of slabs, see `plan_slab_height` |
    | `field` | (3,) | V/angstrom; only with `field` |
    | `velocities` | (atoms, 3) | only with "current": dP/dt in e angstrom per their time |

    Energies are without element energies, charges and Born charges with the sign and screening
    of the model. Derivatives of the energy are those in the field, all else is at zero field.
    The current is that of `jles.jax_md.current_fn`: a common drift of the atoms transports the
    total charge only.

    The boundary (crystal, slab or cluster) and the wavevectors of the lattice sum are fixed:
    they are those of `example`. All results are NaN for a cell with an edge longer than that
    of `example`, so take the largest cell or a `margin`. They are also NaN for an element that
    the model does not know.

    Args:
        model: from `jles.load`.
        example: ASE atoms like those to come.
        want: names of quantities (docs/predictions.md), and "current".
        field: whether the program takes a field.
        atoms: number of atoms, if it is fixed; by default any number.
        neighbors: number of neighbours, if it is fixed; by default any number.
        margin: relative growth of the cell edges to leave room for.
        platforms: such as ("cpu", "cuda"); by default that of this process.

    Raises:
        InputError: a quantity that the model or structure does not have, or a model whose
            numbers of atoms and neighbours must be fixed.
    """
    names = tuple(name for name in want if name != CURRENT)
    check_wanted(names, model.config, example.pbc, field, cell=example.cell.array)
    if CURRENT in want:
        wanted = ("born_charges",)
        check_wanted(wanted, model.config, example.pbc, cell=example.cell.array)
    model.check_charge(example)
    _check_number("atoms", atoms)
    _check_number("neighbors", neighbors)
    with model.precision():
        options = {"margin": margin, "where": model.where, "dtype": model.dtype}
        options["state_key"] = model.state_key
        structure = structure_of(example, model.config, **options)
        specs = _arguments(symbolic_structure(structure, atoms, neighbors), want, field)
        program = partial(_program, model.potential, model.params, structure, tuple(want))
        try:
            return jax_export(jax.jit(program), platforms=platforms)(specs)
        except TypeError as error:
            if "_DimExpr" not in str(error):
                raise
            raise InputError(
                f"export: {model.where} needs sizes that are numbers: take them from shape "
                "instead of len in its function, or give atoms and neighbors as numbers"
            ) from None
        except jax.errors.InconclusiveDimensionOperation as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                "export: this model needs fixed numbers of atoms and neighbors; give both as "
                f"numbers (and pad to them). JAX says: {reason}"
            ) from None


def flat_arrays(structure: Structure) -> dict:
    """The arrays of one structure as an exported program takes them.

    It takes the neighbours of a structure built by jles (`potential.structure`); add `field`
    and `velocities` where the program takes them.
    """
    arrays = {name: getattr(structure, name) for name in _keys(structure)}
    for name in arrays.keys() & set(_INTEGERS):
        arrays[name] = arrays[name].astype(np.int32)
    return arrays


def _keys(structure: Structure) -> tuple[str, ...]:
    derived = {"mask", "periodic", "open_axis", "plan"}
    if structure.plan.slab is None:
        derived.add("slab_height")
    if structure.state is None:
        derived.add("state")
    return tuple(f.name for f in fields(Structure) if f.name not in derived)


def _arguments(structure, want, field: bool) -> dict:
    """Shapes and types of the arguments."""
    specs = {name: getattr(structure, name) for name in _keys(structure)}
    for name in specs.keys() & set(_INTEGERS):
        specs[name] = jax.ShapeDtypeStruct(specs[name].shape, jnp.int32)
    positions = specs["positions"]
    if field:
        specs["field"] = jax.ShapeDtypeStruct((3,), positions.dtype)
    if CURRENT in want:
        specs["velocities"] = positions
    return specs


def _program(
    potential: Potential, params: dict, example: Structure, want: tuple[str, ...], arrays: dict
) -> dict:
    """Wanted values of one structure, given as a dict of arrays."""
    structure = Structure(
        **{"slab_height": jnp.ones((), arrays["positions"].dtype)}
        | {name: arrays[name] for name in _keys(example)},
        mask=arrays["numbers"] > 0,
        periodic=jnp.asarray(example.periodic),
        open_axis=jnp.asarray(example.open_axis),
        plan=example.plan,
    )
    names = frozenset(want) - {CURRENT}
    found = outputs(potential, params, structure, arrays.get("field"), names, "exact")
    results = {name: found[name] for name in names}
    if CURRENT in want:
        evaluation = Evaluation(potential, params, structure)
        results[CURRENT] = evaluation.current(arrays["velocities"])
    options = potential.config.sum_options
    fits = plan_serves(structure.plan, structure.cell, options, structure.slab)
    fits &= jnp.all(jnp.isin(structure.numbers, jnp.array((0, *potential.config.numbers))))
    return jax.tree.map(lambda value: jnp.where(fits, value, jnp.nan), results)


def _check_number(name: str, value) -> None:
    if value is not None and not (isinstance(value, int) and value > 0):
        raise InputError(
            f"export: {name} is {value!r}; it must be a positive number, or None for any"
        )
