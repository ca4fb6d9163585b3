"""A model as a user holds it: atoms in, NumPy results out."""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols

from jles.calculators.outputs import outputs
from jles.calculators.prediction import (
    QUANTITIES as QUANTITIES,
)
from jles.calculators.prediction import (
    WHOLE,
    Prediction,
    check_structure,
    check_wanted,
    field_array,
    notes_of,
)
from jles.errors import InputError
from jles.models.config import ModelConfig, ScreeningConfig
from jles.models.potential import build_potential
from jles.models.store import read_model
from jles.observables.born_charges import acoustic_sum, obey_sum_rule
from jles.observables.polarizability import dielectric_tensor
from jles.structures.batch import build_structure, on_device, pad_structure, size_of
from jles.structures.sizes import Size, merge_sizes, plan_buckets, round_up_size
from jles.structures.structure import Structure

_MOST_PLANNED = 8


class Model:
    """A potential with its parameters; see `load_model`.

    Pure functions for `jit`, `grad` and integrators, all of `(params, structure)`: `energy_fn`
    (eV, without element energies), `charges_fn`, `dipole_fn`; with a field (V/angstrom) after them
    `enthalpy_fn` and `coupling_fn`, see `Potential`. `params` holds the parameters,
    `structure(atoms)` builds what the functions take.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: dict,
        dtype: str = "float32",
        where: str = "model",
        training: dict | None = None,
    ):
        if dtype not in ("float32", "float64"):
            raise InputError(f"dtype must be float32 or float64, got {dtype!r}")
        self.config, self.dtype, self._where = config, dtype, where
        self.training = training or {}
        self.potential = build_potential(config)
        with self._precision():
            self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
        self.energy_fn = self._pure(self.potential.energy_fn)
        self.charges_fn = self._pure(self.potential.charges_fn)
        self.dipole_fn = self._pure(self.potential.dipole_fn)
        self.enthalpy_fn = self._pure(self.potential.enthalpy_fn)
        self.coupling_fn = self._pure(self.potential.coupling_fn)
        self._planned: tuple[Size, ...] = ()
        self._sizes: list[Size] = []

    @property
    def label_keys(self) -> dict[str, str]:
        """What the labels of the training data were called; empty for the defaults."""
        return self.training.get("label_keys", {})

    def _precision(self):
        return jax.enable_x64(self.dtype == "float64")

    def _pure(self, function):
        """`function`, refusing to run a float64 model in a float32 JAX."""

        @wraps(function)
        def checked(params, structure, *field):
            if jax.dtypes.canonicalize_dtype(self.dtype) != jnp.dtype(self.dtype):
                raise InputError(
                    f"{self._where} is float64 but JAX computes in float32 here: call "
                    'jax.config.update("jax_enable_x64", True) first, or load it as float32'
                )
            return function(params, structure, *field)

        return checked

    def plan(self, frames, names: Sequence[str] | None = None) -> None:
        """Chooses few sizes for a whole set of ASE structures, so that few compilations serve it.

        Lists given to `predict` are planned by themselves.

        Args:
            frames: the structures that will be predicted.
            names: of the structures, for errors.

        Raises:
            InputError: a structure that cannot be; it is named.
        """
        sizes = []
        for number, atoms in enumerate(frames):
            with naming(names[number] if names else f"structure {number}"):
                sizes.append(size_of(self._bare(atoms)))
        planned = plan_buckets(sizes, _MOST_PLANNED)[0]
        self._planned = tuple(sorted(planned, key=lambda size: size.atoms * size.neighbors))

    def structure(self, atoms) -> Structure:
        """The structure of ASE `atoms`, padded to a size that earlier ones share where it can.

        Raises:
            InputError: an element the model has not seen, or geometry that cannot be right.
        """
        bare = self._bare(atoms)
        padded = pad_structure(bare, self._size_for(size_of(bare)))
        with self._precision():
            return on_device(padded)

    def _bare(self, atoms) -> Structure:
        """The structure without room, on the host."""
        self._check_elements(atoms)
        cutoff = self.config.backbone.cutoff
        k_max = self.config.electrostatics.k_max if self.config.charges else None
        return build_structure(
            atoms.numbers,
            atoms.positions,
            atoms.cell.array,
            atoms.pbc,
            cutoff=cutoff,
            k_max=k_max,
            sigma=self.config.electrostatics.sigma,
            total_charge=self.total_charge(atoms),
            dtype=self.dtype,
        )

    def total_charge(self, atoms) -> float:
        """That `atoms.info` gives, e; 0 where it says nothing.

        Raises:
            InputError: it is no finite number.
        """
        key = self.label_keys.get("total_charge", "total_charge")
        value = atoms.info.get(key, 0.0)
        try:
            charge = float(value)
        except (TypeError, ValueError):
            charge = math.nan
        if not math.isfinite(charge):
            raise InputError(f"atoms.info['{key}'] must be a finite number (e), got {value!r}")
        return charge

    def _size_for(self, need: Size) -> Size:
        """A planned size, or one already compiled for that wastes little, or one with room."""
        for size in self._planned:
            if merge_sizes([size, need]) == size:
                return size
        for size in self._sizes:
            fits = merge_sizes([size, need]) == size
            if fits and size.atoms <= 1.3 * need.atoms + 8 and _k_box(size) <= 2 * _k_box(need):
                return size
        # Neighbour numbers change from step to step of a run: leave room for that.
        size = round_up_size(need._replace(neighbors=need.neighbors + need.neighbors // 8 + 2))
        self._sizes.append(size)
        self._sizes.sort(key=lambda s: (s.atoms, s.neighbors, _k_box(s)))
        return size

    def _check_elements(self, atoms) -> None:
        unknown = sorted(set(atoms.numbers.tolist()) - set(self.config.numbers))
        if unknown:
            names = ", ".join(chemical_symbols[z] for z in unknown)
            raise InputError(
                f"{self._where} has not seen {names}; it knows {', '.join(self.config.elements)}"
            )

    def predict(
        self,
        atoms,
        want: Sequence[str] = ("energy", "forces"),
        field=None,
        *,
        born_mode: Literal["exact", "published"] = "exact",
        sum_rule: bool = False,
    ):
        """Results for ASE `atoms`, or a list of them for a list of atoms.

        Args:
            atoms: one structure or a sequence of structures.
            want: names of `QUANTITIES`, see `Prediction`.
            field: applied, (3,), V/angstrom; energy and forces are then those in the field, all
                else is at zero field.
            born_mode: Born charges of crystals at k = 0, or at the cell's own wave vectors as
                published.
            sum_rule: subtract from Born charges what violates the acoustic sum rule.

        Raises:
            InputError: something wanted that this model or structure does not have.
        """
        check_wanted(want, self.config, self._where)
        if born_mode not in ("exact", "published"):
            raise InputError(f"born_mode must be 'exact' or 'published', got {born_mode!r}")
        options = (tuple(want), field_array(field), born_mode, sum_rule)
        if isinstance(atoms, list | tuple):
            return self._predict_all(atoms, options)
        return self._predict(atoms, *options)

    def _predict_all(self, frames, options) -> list[Prediction]:
        self.plan(frames)
        results = []
        for number, atoms in enumerate(frames):
            with naming(f"structure {number}"):
                results.append(self._predict(atoms, *options))
        self._planned = ()
        return results

    def _predict(self, atoms, want, field, born_mode, sum_rule) -> Prediction:
        check_structure(want, self.config, atoms.pbc, field is not None)
        if born_mode == "published" and atoms.pbc.any() and not atoms.pbc.all():
            raise InputError("born_mode: the published formula has no open direction; take 'exact'")
        with self._precision():
            structure = self.structure(atoms)
            applied = None if field is None else jnp.asarray(field, self.dtype)
            out = jax.device_get(
                self._evaluate(self.params, structure, applied, frozenset(want), born_mode)
            )
            places = np.asarray(structure.positions, np.float64)[: len(atoms)]
        return self._collect(out, atoms, places, want, field, sum_rule)

    @cached_property
    def _evaluate(self):
        return jax.jit(partial(outputs, self.potential), static_argnums=(3, 4))

    def _collect(self, out, atoms, places, want, field, sum_rule) -> Prediction:
        count = len(atoms)
        energies = self.config.element_energies
        offset = sum(energies.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols())
        results = {}
        for name in want:
            value = out[name]
            if name == "energy":
                results[name] = float(value) + offset
            elif name == "energy_parts":
                parts = {part: float(number) for part, number in value.items()}
                results[name] = parts | {"elements": offset}
            elif name in WHOLE:
                results[name] = np.asarray(value, np.float64)
            else:
                results[name] = np.asarray(value, np.float64)[:count]
        if "charges" in results and self.config.charges.channels == 1:
            results["charges"] = results["charges"][:, 0]
        if "bare_charges" in out:
            bare = np.asarray(out["bare_charges"], np.float64)[:count]
            total = self.total_charge(atoms)
            in_field = field is not None
            results["notes"] = notes_of(want, bare, total, atoms.pbc, self.config, in_field)
            # The model wrapped the atoms; the branch is that of the places they were given.
            factor = float(out.get("factor", 0.0))
            moved = factor * (bare - bare.mean()) @ (atoms.positions - places)
            if in_field and "energy" in want:
                results["energy"] -= float(moved @ field)
            if in_field and "energy_parts" in want:
                results["energy_parts"]["long_range"] -= float(moved @ field)
            if "polarization" in want and atoms.pbc.any():
                results["polarization"] = results["polarization"] + moved
                results["polarization_quantum"] = atoms.cell.array[atoms.pbc].copy()
        if "born_charges" in want:
            born = results["born_charges"]
            results["acoustic_sum"] = acoustic_sum(born)
            if sum_rule:
                total = self.total_charge(atoms)
                results["born_charges"] = obey_sum_rule(born, np.ones(count, bool), total)
        if "polarizability" in want and atoms.pbc.all():
            total, volume = results["polarizability"], atoms.get_volume()
            hidden = float(out["factor"]) ** 2
            results["epsilon_infinity"] = dielectric_tensor(total, volume, hidden)
        return Prediction(**results)

    def calculator(self, field=None):
        """An ASE calculator, see `LatentChargeCalculator`.

        Args:
            field: applied, (3,), V/angstrom.

        Raises:
            InputError: a field of another shape, or too strong to be in V/angstrom.
        """
        from jles.calculators.ase import LatentChargeCalculator

        return LatentChargeCalculator(self, field_array(field))


@contextmanager
def naming(place: str):
    """Puts the name of a structure before an error about it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _k_box(size: Size) -> int:
    """Number of reciprocal indices a size has room for."""
    return 1 if size.grid is None else math.prod(2 * n + 1 for n in size.grid)


def load_model(path, dtype: str = "float32", screening: ScreeningConfig | None = None) -> Model:
    """The model in a directory that `jles train`, `jles demo` or `jles import-torch` wrote.

    Args:
        path: the directory.
        dtype: "float32" or "float64": what everything is computed in.
        screening: instead of the model's own.

    Raises:
        InputError: not a model directory, damaged, or of a newer format.
    """
    stored = read_model(Path(path))
    config = stored.config
    if screening is not None:
        config = replace(config, screening=screening)
    return Model(config, stored.params, dtype, str(path), stored.training)
