"""Latent Ewald summation in JAX: learn charges from energies and forces alone.

Importing this package is cheap: the names below, and JAX with them, are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from jles import units as units
from jles.errors import InputError as InputError
from jles.version import __version__ as __version__

if TYPE_CHECKING:
    from jles import jax_md as jax_md
    from jles.dynamics.run import run_md as run_md
    from jles.electrostatics.lattice_sum import lattice_sum as lattice_sum
    from jles.electrostatics.multipoles import Multipoles as Multipoles
    from jles.electrostatics.response.applied_field import polarization as polarization
    from jles.electrostatics.response.induction import Response as Response
    from jles.models.backbones.features import Features as Features
    from jles.models.config import ModelConfig as ModelConfig
    from jles.models.potential import build_potential as build_potential
    from jles.observables.born_charges import born_charges as born_charges
    from jles.observables.polarizability import polarizability as polarizability
    from jles.predict.augment import augment as augment
    from jles.predict.export import export as export
    from jles.structures.structure import Structure as Structure

_LAZY = {
    "Features": "jles.models.backbones.features",
    "ModelConfig": "jles.models.config",
    "Multipoles": "jles.electrostatics.multipoles",
    "Response": "jles.electrostatics.response.induction",
    "Structure": "jles.structures.structure",
    "augment": "jles.predict.augment",
    "born_charges": "jles.observables.born_charges",
    "build_potential": "jles.models.potential",
    "export": "jles.predict.export",
    "lattice_sum": "jles.electrostatics.lattice_sum",
    "polarizability": "jles.observables.polarizability",
    "polarization": "jles.electrostatics.response.applied_field",
    "run_md": "jles.dynamics.run",
}
"""Public names and the modules they are imported from on first use."""

_ROOMS = ("jax_md",)
"""Public packages, imported on first use."""


def __getattr__(name: str):
    if name in _ROOMS:
        return import_module(f"jles.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'jles' has no attribute '{name}'")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_LAZY, *_ROOMS, "InputError", "__version__", "load", "units"])


def load(
    path,
    dtype: str = "float32",
    electrostatics=None,
    precision: str | None = None,
    screening=None,
):
    """The model in a model directory, ready to predict (docs/architecture.md, "A model").

    Args:
        path: a directory that `jles train`, `jles demo` or `jles import-torch` wrote.
        dtype: "float32" or "float64", the precision of everything the model computes.
        electrostatics: how the lattice sum is done, e.g. {"method": "mesh", "accuracy": 1e-4};
            method "direct", "mesh" or "auto" (the cheaper one, chosen for each structure).
        precision: of the products of the network on accelerators, "highest", "high" or
            "default"; by default that of the model (docs/accelerators.md).
        screening: from latent to physical moments, e.g. {"epsilon_infinity": 1.78, "positive":
            "H"}; by default that of the model.

    Raises:
        InputError: the directory or a file in it is missing, damaged or of a newer format; a
            wrong key or value.
    """
    from jles.predict.model import load_model

    return load_model(path, dtype, screening, electrostatics, precision)
