"""Tiny, cheap models and structures for tests, with all parts."""

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.io import write

from jles.electrostatics.plan import SlabPlan, SumPlan
from jles.electrostatics.sums.kgrid import KGrid
from jles.models.config import CaceConfig, DirectCharges, ModelConfig, ReadoutConfig
from jles.models.potential import build_potential
from jles.structures.batch import Size, build_structure, on_device, pad_structure

SMALL_CHARGES = DirectCharges(hidden=(4,))
TRICLINIC = np.array([[4.1, 0.3, -0.2], [0.9, 4.4, 0.5], [-0.6, 0.8, 4.7]])


def small_backbone(**changes) -> CaceConfig:
    values = {
        "cutoff": 3.0,
        "n_rbf": 3,
        "n_radial_basis": 2,
        "n_atom_basis": 2,
        "l_max": 2,
        "body_order": 3,
    }
    return CaceConfig(**values | changes)


def small_config(elements=("H", "O"), charges=SMALL_CHARGES, **changes):
    backbone = changes.pop("backbone", small_backbone())
    return ModelConfig(
        elements, backbone, energy=ReadoutConfig(hidden=(4,)), charges=charges, **changes
    )


def random_params(potential, seed=0, dtype=np.float64):
    """Initial parameters, feature statistics included, with every entry of them random."""
    shapes = jax.eval_shape(lambda key: potential.init(key, dtype), jax.random.key(0))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.6, leaf.shape).astype(dtype), shapes)
    if "bessel_weights" in params["backbone"]:
        count = len(params["backbone"]["bessel_weights"])
        cutoff = potential.config.backbone.cutoff
        frequencies = np.arange(1, count + 1) * np.pi / cutoff * rng.uniform(0.8, 1.2, count)
        params["backbone"]["bessel_weights"] = frequencies.astype(dtype)
    if "features" in params:
        width = len(params["features"]["scale"])
        params["features"]["scale"] = rng.uniform(0.1, 0.5, width).astype(dtype)
    return params


def small_model(config=None, seed=0, dtype=np.float64):
    """A potential and random parameters of it."""
    potential = build_potential(config or small_config())
    params = random_params(potential, seed, dtype)
    return potential, jax.tree.map(jnp.asarray, params)


def of_structure(model, function):
    """`function(energy_fn, structure)`, e.g. `energy_and_forces`, as function of a structure.

    Args:
        model: a potential and its parameters.
        function: takes the energy as function of a structure, and a structure.
    """
    potential, params = model
    return lambda structure: function(
        lambda moved: potential.energy_fn(params, moved), structure
    )


def rattled(seed, count=6, cell=TRICLINIC, pbc=True, symbols=("H", "O")) -> Atoms:
    """Random atoms near points of a grid in the cell, so that none overlap."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(count ** (1 / 3)))
    points = np.array(
        [(a, b, c) for a in range(side) for b in range(side) for c in range(side)]
    )
    chosen = points[rng.permutation(len(points))[:count]]
    fractions = (chosen + 0.5 + rng.uniform(-0.22, 0.22, (count, 3))) / side
    names = [symbols[n % len(symbols)] for n in range(count)]
    return Atoms(names, fractions @ cell, cell=cell if pbc else None, pbc=pbc)


def water(rng, side=3):
    """Molecules of random orientation at the density of water."""
    shape = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3) * 3.1
    turns = np.linalg.qr(rng.normal(size=(side**3, 3, 3)))[0]
    positions = (grid[:, None] + shape @ turns).reshape(-1, 3)
    return Atoms("OHH" * side**3, positions, cell=[side * 3.1] * 3, pbc=True)


def structure_of(atoms, potential, **options):
    """The structure that the potential's functions take."""
    config = potential.config
    built = build_structure(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=config.backbone.cutoff,
        k_max=config.electrostatics.k_max if config.charges else None,
        **{"dtype": np.float64, "total_charge": atoms.info.get("total_charge", 0.0)} | options,
    )
    return on_device(built)


def roomy_structure(atoms, potential, **options):
    """The same, padded to one size for all crystals and clusters of a test: one compilation."""
    slab = np.sum(atoms.pbc) == 2
    size = Size(8, 40, SumPlan(KGrid(3, 5, 3), slab=SlabPlan() if slab else None, cluster=True))
    return on_device(pad_structure(structure_of(atoms, potential, **options), size))


def random_orthogonal(seed):
    """A rotation, or one followed by an inversion."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix


def relative(value, reference):
    """Largest deviation in units of the largest reference."""
    scale = np.max(np.abs(reference))
    return np.max(np.abs(np.asarray(value) - np.asarray(reference))) / scale


def labelled(atoms, labels=("energy", "forces", "stress")) -> Atoms:
    """With energy, forces and stress of a Lennard-Jones crystal, exact and cheap."""
    out = atoms.copy()
    atoms = atoms.copy()
    atoms.calc = LennardJones(sigma=1.4, epsilon=0.2, rc=4.0, smooth=True)
    offsets = {"H": -13.0, "O": -430.0}
    values = {
        "energy": atoms.get_potential_energy() + sum(offsets[s] for s in atoms.symbols),
        "forces": atoms.get_forces(),
    }
    if atoms.pbc.all():
        values["stress"] = atoms.get_stress(voigt=False)
    for name in labels:
        if name in values:
            (out.arrays if name == "forces" else out.info)[name] = values[name]
    return out


def write_frames(path, frames):
    """As extended XYZ, every digit kept; returns the path as text."""
    with open(path, "w", encoding="utf-8") as file:
        for atoms in frames:
            write(file, atoms, format="extxyz")
    return str(path)


def mixed_frames(count=6, seed=0):
    """Crystals and clusters of different sizes and compositions, with labels."""
    sizes = [(2 + n % 4, n % 3 != 2) for n in range(count)]
    return [
        labelled(rattled(seed + n, count=size, pbc=pbc, symbols=("H", "O", "H")))
        for n, (size, pbc) in enumerate(sizes)
    ]


TINY_MODEL = {
    "backbone": {
        "cutoff": 3.0,
        "n_rbf": 3,
        "n_radial_basis": 2,
        "n_atom_basis": 2,
        "l_max": 0,
        "body_order": 1,
    },
    "energy": {"hidden": [4]},
    "charges": {"hidden": []},
    "electrostatics": {"sigma": 1.25, "k_max": 2.0},
}


def training_values(train, valid=(), **changes):
    """A training file of a tiny model as nested values."""
    return {
        "data": {"train": train, "valid": valid, "max_buckets": 1},
        "model": TINY_MODEL,
        "epochs": 3,
        "batch_size": 2,
        "loss": {"energy": 1.0, "forces": 1.0},
        "optimizer": {"learning_rate": 0.01, "schedule": "constant", "ema": 0.0},
    } | changes
