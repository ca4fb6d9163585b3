"""From atoms to results: what `Model` and `Committee` have in common."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols

from jles.compiling import announced
from jles.errors import InputError, InputWarning, naming
from jles.models.atoms import charge_of, check_atoms, structure_of
from jles.models.config import ModelConfig
from jles.models.state import reduced_formula
from jles.models.state_config import SAME_CHARGE
from jles.predict.collect import collect
from jles.predict.prediction import Prediction, check_wanted, field_array
from jles.quantities.evaluation import BornMode
from jles.structures.batch import on_device, pad_structure, size_of
from jles.structures.distances import outside, read_range
from jles.structures.doubts import forgotten_periodicity, unusual_distances
from jles.structures.sizes import Size, cost_of, merge_sizes, plan_buckets, round_up_size
from jles.structures.structure import Structure

_MOST_PLANNED = 8

COMPILATION = 50.0
"""Work of a compilation in the unit of `cost_of`.

Measured on two shared CPU cores with a default CACE model of charges: energy and forces of 3 to
450 atoms take 0.1 to 0.15 s per unit, compilations 9 to 18 s.
"""

_LEAST = 32
"""Atoms, and neighbours of each, of the smallest such size."""

_COARSE = 2.0
"""Ratio of the sizes that are compiled for the first structure of a size."""


class Predictor(ABC):
    """Builds, checks and pads structures, calls the compiled function, collects its results.

    Attributes:
        config: of the model.
        dtype: "float32" or "float64", precision of the calculation.
        where: name of the model in errors.
        training: record of the training, label names included.
        params: parameters, as `_evaluate` takes them.
    """

    def __init__(
        self, config: ModelConfig, params: dict, dtype: str, where: str, training: dict
    ):
        if dtype not in ("float32", "float64"):
            raise InputError(f"dtype must be float32 or float64, got {dtype!r}")
        self.config, self.dtype, self.where, self.training = config, dtype, where, training
        with self.precision():
            self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
        self._planned: tuple[Size, ...] = ()
        self._sizes: list[Size] = []
        self._wasted: dict[Size, float] = {}
        self._distances = read_range(self.training.get("distances", {}))
        self._warned: set[str] = set()

    @property
    @abstractmethod
    def _evaluate(self) -> Callable:
        """Compiled `outputs` of params, structure, field, wanted names, Born-charge mode."""

    @abstractmethod
    def _read(self, out: dict, collected: Callable[[dict], Prediction]):
        """The result from arrays `out`; `collected` makes the `Prediction` of one model."""

    @cached_property
    def _announced(self) -> Callable:
        return announced(self._evaluate, "prediction")

    @property
    def label_keys(self) -> dict[str, str]:
        """Names of the labels in the training data; empty for the defaults."""
        return self.training.get("label_keys", {})

    @abstractmethod
    def _calculator_type(self) -> type:
        """Class of the ASE calculator."""

    def calculator(self, field=None):
        """An ASE calculator, see `jles.predict.ase`.

        Args:
            field: applied, (3,), V/angstrom; changed later by `calculator.field = ...`.

        Raises:
            InputError: a field of another shape, or too strong to be in V/angstrom.
        """
        return self._calculator_type()(self, field)

    def precision(self):
        """A context in which JAX has the precision of the model."""
        return jax.enable_x64(self.dtype == "float64")

    def plan(self, frames, names: Sequence[str] | None = None) -> None:
        """Chooses a few sizes for a set of ASE structures, so that few compilations serve it.

        `predict` plans a list by itself.

        Args:
            frames: the structures that will be predicted.
            names: of the structures, for errors.

        Raises:
            InputError: a structure that is not valid; it is named.
        """
        sizes = []
        for number, atoms in enumerate(frames):
            name = names[number] if names else f"structure {number}"
            with naming(name):
                structure = self._bare(atoms)
                self._warn_of_doubts(atoms, structure, f"{name}: ")
                sizes.append(size_of(structure))
        planned = plan_buckets(sizes, _MOST_PLANNED, worth=COMPILATION)[0]
        self._planned = tuple(sorted(planned, key=lambda size: size.atoms * size.neighbors))

    def structure(self, atoms) -> Structure:
        """The structure of ASE `atoms`, padded to a size shared with earlier ones if it fits.

        Raises:
            InputError: an element the model has not seen, or a geometry that is not valid.
        """
        bare = self._bare(atoms)
        self._warn_of_doubts(atoms, bare)
        padded = pad_structure(bare, self._size_for(size_of(bare)))
        with self.precision():
            return on_device(padded)

    def _bare(self, atoms) -> Structure:
        """The structure without padding, on the host."""
        check_atoms(atoms)
        self.check_charge(atoms)
        return structure_of(
            atoms,
            self.config,
            total_charge=self.total_charge(atoms),
            state_key=self.state_key,
            where=self.where,
            dtype=self.dtype,
        )

    def check_charge(self, atoms) -> None:
        """Refuses a given charge that the model does not see and was not trained at.

        Structures with the composition of charged ones of the training have their charge, in
        units of the formula. Other compositions may have any, unless all of the training was
        neutral. Without a record of the training, as for published models, none is refused.

        Raises:
            InputError: names the charge, those of the training and the remedy.
        """
        key, known = self.charge_key, self.training.get("total_charges")
        if not known or self.config.sees_charge or key not in atoms.info:
            return
        charge = self.total_charge(atoms) + 0.0
        formula, units = reduced_formula(atoms.numbers)
        trained = self.training.get("charges_by_formula", {}).get(formula)
        if trained is None and any(known):
            return
        trained = [units * q for q in trained or (0.0,)]
        if min(abs(charge - q) for q in trained) > SAME_CHARGE:
            listed = ", ".join(f"{q:g}" for q in trained)
            raise InputError(
                f"'{key}' is {charge:g} e; {self.where} was trained at {listed} e and its "
                f"energy does not depend on it: train with model.state, or take out '{key}'"
            )

    def _warn_of_doubts(self, atoms, structure: Structure, place: str = "") -> None:
        """Warns, once of each kind, of new elements, unusual distances, forgotten `pbc`."""
        doubts = {
            "elements": lambda: self.unseen_elements(structure.numbers[structure.mask]),
            "distances": lambda: self._doubtful_distances(structure),
            "pbc": lambda: forgotten_periodicity(
                atoms.positions, atoms.cell.array, atoms.pbc, self.config.backbone.cutoff
            ),
        }
        for kind, doubt in doubts.items():
            if kind not in self._warned and (reason := doubt()):
                self._warned.add(kind)
                warnings.warn(
                    f"{place}{reason} (later structures are not checked)",
                    InputWarning,
                    stacklevel=4,
                )

    def unseen_elements(self, numbers) -> str | None:
        """Names elements that the model has, but that its training data do not contain.

        Args:
            numbers: atomic numbers.
        """
        trained = self.training.get("trained_elements")
        present = {chemical_symbols[z] for z in np.unique(numbers)}
        unseen = present.difference(present if trained is None else trained)
        names = ", ".join(sorted(unseen, key=chemical_symbols.index))
        return names and f"the training data of {self.where} do not contain {names}"

    def _doubtful_distances(self, structure: Structure) -> str | None:
        """Compares with the training data, or with covalent radii where they are unknown."""
        if self._distances is not None:
            reason = outside(structure, self._distances)
            return reason and f"{reason} of {self.where}: are positions and cell in angstrom?"
        # Imported models have no record, those trained further from them an empty one.
        real = {"imported_from", "distances"} & self.training.keys()
        return unusual_distances(structure) if real else None

    def total_charge(self, atoms) -> float:
        """Total charge in `atoms.info`, e; 0 if there is none.

        Raises:
            InputError: not a finite number.
        """
        return charge_of(atoms, self.charge_key)

    @property
    def charge_key(self) -> str:
        """Name of the total charge in `atoms.info`."""
        return self.label_keys.get("total_charge", "total_charge")

    @property
    def state_key(self) -> str:
        """Name of the labels of the atoms, for models that read them."""
        return self.label_keys.get("state", "state")

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Names of all that the model reads of ASE atoms beside the geometry."""
        return (
            (self.charge_key, self.state_key) if self.config.has_labels else (self.charge_key,)
        )

    def _size_for(self, need: Size) -> Size:
        """A planned size, one that was used before, or a new one.

        A size that is larger than needed is used until the work on its padding, over all
        structures of this size, exceeds that of a compilation. So few sizes are compiled for
        structures of many sizes, and a long run gets a size of its own.
        """
        for size in self._planned:
            if merge_sizes([size, need]) == size:
                return size
        # The number of neighbours changes from step to step of a run.
        need = need._replace(neighbors=need.neighbors + need.neighbors // 8 + 2)
        close = round_up_size(need)
        fitting = [size for size in self._sizes if merge_sizes([size, need]) == size]
        if fitting:
            size = min(fitting, key=cost_of)
        else:
            size = self._new_size(need)
            self._sizes.append(size)
        wasted = self._wasted.get(close, 0.0) + cost_of(size) - cost_of(close)
        if wasted > COMPILATION:
            self._sizes.append(close)
            return close
        self._wasted[close] = wasted
        return size

    def _new_size(self, need: Size) -> Size:
        """A size from a coarse ladder, enlarged to hold earlier sizes that are not larger."""
        atoms, neighbors = max(need.atoms, _LEAST), max(need.neighbors, _LEAST)
        size = round_up_size(need._replace(atoms=atoms, neighbors=neighbors), _COARSE)
        limit = _COARSE * cost_of(size)
        for other in self._sizes:
            both = merge_sizes([size, other])
            if _sums(both) == _sums(size) and cost_of(both) <= limit:
                size = both
        return size

    def predict(
        self,
        atoms,
        want: Sequence[str] = ("energy", "forces"),
        field=None,
        *,
        born_mode: BornMode = "exact",
        sum_rule: bool = False,
    ):
        """Predicts quantities of ASE `atoms`, or a list of results for a list of atoms.

        Args:
            atoms: one structure or a list of structures.
            want: names of quantities, see docs/predictions.md.
            field: applied, (3,), V/angstrom; energy, forces and stress are then those in the
                field, everything else is at zero field.
            born_mode: "exact": derivatives of the polarization, in crystals at k → 0;
                "published": in crystals at the cell's own wave vectors; "local": in molecules
                as in crystals, without the uniform shift that corrects the total charge.
            sum_rule: subtract from Born charges what violates the acoustic sum rule.

        Raises:
            InputError: a quantity that this model or structure does not have, or a result that
                is not finite.
        """
        check_wanted(want, self.config)
        if born_mode not in get_args(BornMode):
            names = ", ".join(map(repr, get_args(BornMode)))
            raise InputError(f"born_mode must be one of {names}, got {born_mode!r}")
        options = (tuple(want), field_array(field), born_mode, sum_rule)
        if isinstance(atoms, list | tuple):
            return self._predict_all(atoms, options)
        check_atoms(atoms)
        return self._predict(atoms, *options)

    def _predict_all(self, frames, options) -> list:
        self.plan(frames)
        results = []
        for number, atoms in enumerate(frames):
            with naming(f"structure {number}"):
                results.append(self._predict(atoms, *options))
        self._planned = ()
        return results

    def _predict(self, atoms, want, field, born_mode, sum_rule):
        check_wanted(want, self.config, atoms.pbc, field is not None, cell=atoms.cell.array)
        if born_mode == "published" and atoms.pbc.any() and not atoms.pbc.all():
            raise InputError(
                "born_mode: the published formula has no open direction; take 'exact'"
            )
        with self.precision():
            structure = self.structure(atoms)
            applied = None if field is None else jnp.asarray(field, self.dtype)
            out = jax.device_get(
                self._announced(self.params, structure, applied, frozenset(want), born_mode)
            )
            places = np.asarray(structure.positions, np.float64)[: len(atoms)]
        collected = partial(
            collect,
            self.config,
            atoms=atoms,
            places=places,
            plan=structure.plan,
            want=want,
            field=field,
            born_mode=born_mode,
            sum_rule=sum_rule,
            total_charge=self.total_charge(atoms),
        )
        return self._read(out, collected)


def _sums(size: Size) -> tuple:
    """The sums that a size is planned for."""
    return size.plan.method, size.plan.cluster, size.plan.slab
