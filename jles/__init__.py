"""Latent Ewald summation in JAX: learn charges from energies and forces alone.

Importing this package is cheap: JAX and the rest are imported by what uses them.
"""

from jles import units as units
from jles.errors import InputError as InputError
from jles.version import __version__ as __version__


def load(path, dtype: str = "float32", electrostatics=None):
    """The model in a model directory, ready to predict (docs/architecture.md, "A model").

    Args:
        path: a directory that `jles train`, `jles demo` or `jles import-torch` wrote.
        dtype: "float32" or "float64", the precision of everything the model computes.
        electrostatics: how the lattice sum is done, e.g. {"method": "mesh", "accuracy": 1e-4};
            method "direct", "mesh" or "auto" (the cheaper one, chosen for each structure).

    Raises:
        InputError: the directory or a file in it is missing, damaged or of a newer format.
    """
    from jles.predict.model import load_model

    return load_model(path, dtype=dtype, electrostatics=electrostatics)
