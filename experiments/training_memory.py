"""What does a training keep for the derivatives, with and without `remat`?

Run:     python experiments/training_memory.py --out results/training_memory
Needs:   water-rpbe-d3; two minutes on one core.
Writes:  results.json in --out.
Expect:  `remat` keeps the results of the blocks of a layer and computes the rest again, so much
         less is kept.

The loss of energies and forces of four frames of water (192 atoms each) is traced with the
models of configs/*_water.yaml and the sizes of loops of an accelerator, which takes the
structures at once. The script counts the arrays that the derivative of the loss with respect
to the parameters takes from the evaluation. Nothing is compiled; the compiler of an accelerator
may need other memory.
"""

from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import yaml
from common import options, run, write_results

from jles.data.sets import data_set
from jles.models.potential import Potential, build_potential
from jles.observables.stress import energy_and_forces
from jles.step_sizes import ACCELERATOR, use_step_sizes
from jles.structures.batch import merge_sizes, pad_structure, size_of, stack
from jles.structures.structure import Structure

BACKBONES = ("painn", "nequip", "mace", "allegro")
CONFIGS = Path(__file__).parent / "configs"


def potential_of(backbone: str) -> Potential:
    """The model of a training file."""
    model = yaml.safe_load((CONFIGS / f"{backbone}_water.yaml").read_text())["model"]
    return build_potential(model | {"elements": ["H", "O"]})


def batch_of(potential: Potential, frames: int) -> Structure:
    """The first frames of water."""
    first = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), index=slice(frames))
    structures = [potential.structure(atoms) for atoms in first]
    size = merge_sizes(map(size_of, structures))
    return stack([pad_structure(structure, size) for structure in structures])


def kept(potential: Potential, batch: Structure, remat: bool) -> float:
    """MiB that the derivative of the loss takes from its evaluation."""

    def loss(params):
        def values(structure):
            return energy_and_forces(
                lambda moved: potential.energy_fn(params, moved), structure
            )

        with use_step_sizes(ACCELERATOR._replace(recompute=remat)):
            energies, forces = jax.vmap(values)(batch)
        return jnp.mean(energies**2) + jnp.mean(forces**2)

    params = jax.eval_shape(potential.init, jax.random.key(0))
    arrays = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(arrays)) / 2**20


def main(chosen):
    results, frames = {}, 1 if chosen.smoke else 4
    for backbone in BACKBONES[:1] if chosen.smoke else BACKBONES:
        potential = potential_of(backbone)
        batch = batch_of(potential, frames)
        for remat in (False, True):
            results[f"{backbone}, remat {remat}"] = kept(potential, batch, remat)
            write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/training_memory"))
