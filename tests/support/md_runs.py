"""`jles md` on tiny models: a configuration, the models, contents of trajectories."""

import h5py
import jax
import jax.numpy as jnp

from jles.cli.main import main
from jles.models.config import CaceConfig, ModelConfig
from jles.models.potential import build_potential
from jles.models.store import save_model

CONFIG = {
    "steps": 40,
    "timestep": 0.5,
    "dtype": "float64",
    "seed": 3,
    "ensemble": {"kind": "langevin", "temperature": 300.0, "friction": 20.0},
    "neighbors": {"skin": 0.3},
    "block": 12,
    "record": {"thermo": 2, "positions": 4, "velocities": 8, "extxyz": 10},
    "checkpoint": 15,
}
FIELD = {"kind": "sine", "amplitude": [0, 0.1, 0.2], "unit": "V/angstrom", "period": 30}


def tiny_model(path, **heads):
    """A model directory with the requested parts; the model compiles fast."""
    backbone = CaceConfig(
        cutoff=3.0, n_rbf=2, n_radial_basis=2, n_atom_basis=1, l_max=1, body_order=1
    )
    offsets = {"H": -3.0, "O": -7.0}
    config = ModelConfig(("H", "O"), backbone, element_energies=offsets, **heads)
    init = jax.jit(build_potential(config).init, static_argnums=1)
    params = init(jax.random.key(1), jnp.float32)
    # Energies start flat: the atoms would feel nothing.
    params["energy"] = jax.tree.map(lambda leaf: leaf + 0.3, params["energy"])
    save_model(path, config, params)


def md(folder, out, *arguments):
    places = (folder / "model", f"{folder / 'start.xyz'}@-1", folder / "md.yaml")
    return main(["md", *map(str, places), "--out", str(out), *arguments])


def contents(path):
    """Everything in a trajectory."""
    found = {}
    with h5py.File(path, "r") as file:
        found["attributes"] = dict(file.attrs)
        file.visititems(
            lambda name, item: found.__setitem__(
                name, item[:] if isinstance(item, h5py.Dataset) else dict(item.attrs)
            )
        )
    return found
