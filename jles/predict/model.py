"""A model with its parameters: ASE atoms in, NumPy results out."""

import os
from collections.abc import Mapping
from functools import cached_property, partial, wraps
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jles.config import from_dict, to_dict
from jles.errors import InputError
from jles.models.config import ElectrostaticsConfig, ModelConfig, ScreeningConfig
from jles.models.describe import describe
from jles.models.potential import build_potential
from jles.models.store import read_model, save_model
from jles.predict.outputs import outputs
from jles.predict.prediction import Prediction
from jles.predict.predictor import Predictor


class Model(Predictor):
    """A potential with its parameters; see `load_model`.

    Pure functions for `jit`, `grad` and integrators take `(params, structure)`: `energy_fn`
    (eV, without element energies), `charges_fn`, `dipole_fn`. `enthalpy_fn` and `coupling_fn`
    take a field (V/angstrom) as third argument, see `Potential`. `params` holds the parameters,
    `structure(atoms)` builds the structure.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: dict,
        dtype: str = "float32",
        where: str = "model",
        training: dict | None = None,
    ):
        super().__init__(config, params, dtype, where, training or {})
        self.potential = build_potential(config)
        with self.precision():
            self.potential.check(self.params)
        self.energy_fn = self._pure(self.potential.energy_fn)
        self.charges_fn = self._pure(self.potential.charges_fn)
        self.dipole_fn = self._pure(self.potential.dipole_fn)
        self.enthalpy_fn = self._pure(self.potential.enthalpy_fn)
        self.coupling_fn = self._pure(self.potential.coupling_fn)

    def __str__(self) -> str:
        return f"{self.where}\n{describe(self.config, self.params)}"

    def save(self, path) -> None:
        """Writes a model directory, which `jles.load` and every command take.

        Raises:
            InputError: the disk is full or the directory cannot be written.
        """
        params = jax.tree.map(np.asarray, self.params)
        save_model(path, self.config, params, training=self.training)

    def _pure(self, function):
        """`function`, refusing to run a float64 model in a float32 JAX."""

        @wraps(function)
        def checked(params, structure, *field):
            if jax.dtypes.canonicalize_dtype(self.dtype) != jnp.dtype(self.dtype):
                raise InputError(
                    f"{self.where} is float64 but JAX computes in float32 here: call "
                    'jax.config.update("jax_enable_x64", True) first, or load it as float32'
                )
            return function(params, structure, *field)

        return checked

    @cached_property
    def _evaluate(self):
        return jax.jit(partial(outputs, self.potential), static_argnums=(3, 4))

    def _read(self, out, collected) -> Prediction:
        return collected(out)

    def _calculator_type(self) -> type:
        from jles.predict.ase import LatentChargeCalculator

        return LatentChargeCalculator


def load_model(
    path,
    dtype: str = "float32",
    screening: ScreeningConfig | Mapping[str, object] | None = None,
    electrostatics: Mapping[str, object] | None = None,
    precision: str | None = None,
) -> Model:
    """Loads a model directory written by `jles train`, `jles demo` or `jles import-torch`.

    Args:
        path: the directory.
        dtype: "float32" or "float64", precision of the calculation.
        screening: replaces the model's own; its keys are those of `ScreeningConfig`.
        electrostatics: how the model's sum is computed: "method" ("direct", "mesh" or "auto")
            and "accuracy" (relative error of the forces of the mesh). What is summed belongs to
            the model and cannot be changed here.
        precision: of the products of the network on accelerators, "highest", "high" or
            "default"; replaces the model's own.

    Raises:
        InputError: not a model directory, damaged, or of a newer format; a key of
            `electrostatics` or `screening` that does not exist or belongs to the model.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"model: is of type {type(path).__name__}, not the path of a directory"
        )
    stored = read_model(Path(path))
    config = stored.config
    if screening is not None:
        if not isinstance(screening, ScreeningConfig):
            screening = from_dict(ScreeningConfig, screening, "screening")
        config = config.replace(screening=screening)
    if electrostatics:
        config = config.replace(electrostatics=summed_by(config, electrostatics))
    if precision is not None:
        config = config.replace(precision=precision)
    return Model(config, stored.params, dtype, str(path), stored.training)


_HOW = ("method", "accuracy")
"""Keys of `ElectrostaticsConfig` that say how a sum is computed, not what is summed."""


def summed_by(config: ModelConfig, changes: Mapping[str, object]) -> ElectrostaticsConfig:
    """The electrostatics of a model with another method or accuracy.

    Raises:
        InputError: a key other than "method" and "accuracy", or a value that is wrong.
    """
    for key in changes:
        if key in to_dict(config.electrostatics) and key not in _HOW:
            raise InputError(
                f"electrostatics: '{key}' is part of the trained model and cannot be changed; "
                f"only {' and '.join(_HOW)} can"
            )
    values = to_dict(config.electrostatics) | dict(changes)
    return from_dict(ElectrostaticsConfig, values, "electrostatics")
