r"""Committees: the mean prediction of several models and the spread between them.

Members share an architecture and differ in their parameters. They are evaluated by one `vmap`
over the parameters, so a committee is compiled once, like a model.

Energies and forces do not determine the sign of the charges (docs/conventions.md, section 7),
so members that agree on everything else may have opposite charges. Quantities that are odd in
the charges are therefore brought to the sign of the first member: those of each member are
multiplied by the sign of :math:`\sum_i q_i q^{(1)}_i` over the atoms of the structure, with q
the sum over the channels. A member whose sign is reversed is evaluated in the field -E. No sign
is changed where it is known: with `screening.positive`, or with a total charge that the charges
must sum to.
"""

import warnings
from collections.abc import Sequence
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jles.config import to_dict
from jles.errors import InputError, InputWarning
from jles.models.potential import Potential
from jles.predict.model import Model
from jles.predict.outputs import outputs
from jles.predict.predictor import Predictor
from jles.predict.spread import CommitteePrediction, summarize
from jles.products import matmul
from jles.quantities.catalogue import QUANTITIES
from jles.structures.structure import Structure


class Committee(Predictor):
    """Models with the same configuration and different parameters, evaluated together.

    `predict` takes the arguments of `Model.predict` and returns a `CommitteePrediction`;
    `params` are those of the members, stacked along a first axis.
    """

    def __init__(self, models: Sequence[Model]):
        """Stacks the parameters.

        Raises:
            InputError: no models, or two that differ in more than parameters; the first key
                that differs is named.
        """
        if not models:
            raise InputError("a committee needs at least one model")
        first, *others = models
        for other in others:
            _check_same(first, other)
        with first.precision():
            params = jax.tree.map(
                lambda *leaves: jnp.stack(leaves), *(m.params for m in models)
            )
        for place, model in enumerate(models):
            for twin in models[:place]:
                _warn_equal(twin, model)
        super().__init__(first.config, params, first.dtype, first.where, first.training)
        self._potential, self._count = first.potential, len(models)

    @cached_property
    def _evaluate(self):
        return jax.jit(partial(outputs_of_members, self._potential), static_argnums=(3, 4))

    def _read(self, out, collected) -> CommitteePrediction:
        return summarize([collected(_member(out, place)) for place in range(self._count)])

    def _calculator_type(self) -> type:
        from jles.predict.ase import CommitteeCalculator

        return CommitteeCalculator


def _member(out, place):
    return jax.tree.map(lambda values: values[place], out)


def outputs_of_members(
    potential: Potential, params, structure: Structure, field, want: frozenset, born_mode: str
) -> dict:
    """`outputs` of all members, stacked along a first axis, with the sign of the first."""
    odd = {name for name, quantity in QUANTITIES.items() if quantity.odd} | {"bare_charges"}

    def of_one(params, sign):
        applied = None if field is None else sign * field
        out = outputs(potential, params, structure, applied, want, born_mode)
        return {name: sign * value if name in odd else value for name, value in out.items()}

    return jax.vmap(of_one)(params, common_signs(potential, params, structure))


def common_signs(
    potential: Potential, params, structure: Structure
) -> Float[Array, " members"]:
    """1, or -1 for members whose charges are opposite to those of the first."""
    config = potential.config
    one = jnp.ones((), structure.positions.dtype)
    charges = jax.vmap(lambda member: potential.charges_fn(member, structure).sum(axis=1))(
        params
    )
    fixed = (config.screening.positive is not None) | config.fixes_sign(structure.total_charge)
    return jnp.where((matmul(charges, charges[0]) < 0.0) & ~jnp.asarray(fixed), -one, one)


def _check_same(first: Model, other: Model) -> None:
    if other.dtype != first.dtype:
        raise InputError(f"{other.where} is {other.dtype}, {first.where} {first.dtype}")
    ours, theirs = (
        _flat(to_dict(model.config) | {"label_keys": model.label_keys})
        for model in (first, other)
    )
    for key in {**ours, **theirs}:
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{other.where} is no member of a committee with {first.where}: {key} is "
                f"{theirs.get(key)}, not {ours.get(key)}"
            )


def _warn_equal(first: Model, other: Model) -> None:
    pairs = zip(jax.tree.leaves(first.params), jax.tree.leaves(other.params), strict=True)
    if all(np.array_equal(*pair) for pair in pairs):
        names = f"{first.where} and {other.where}"
        warnings.warn(
            f"committee: {names} have the same parameters, which makes the spread too small",
            InputWarning,
            stacklevel=3,
        )


def _flat(values: dict, prefix: str = "") -> dict:
    """Nested keys as `a.b`."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
