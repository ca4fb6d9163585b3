"""If devices share the atoms of one simulation, what does each of them send and hold?

Run:     python experiments/shared_atoms.py --out results/shared_atoms
Needs:   water_v1.pth (published models), water-rpbe-d3; 5 minutes on one core.
Writes:  results.json in --out.
Expect:  a step sends the structure factor, the forces and a few numbers, by all-reduce alone.
         The memory of the network is divided by the number of devices; positions are not.

The first frame of the data set is repeated to 1,536 and 12,288 atoms. Energy and forces are
compiled for 1, 2 and 8 devices, which are one CPU. Collectives, their bytes and the memory of a
device are read off the compiled programs, which are not run: eight devices on two cores say
nothing about times.
"""

import os
import re

# Before JAX looks for devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from common import imported, options, run, write_results

from jles.data.sets import data_set
from jles.dynamics.model_system import model_system
from jles.dynamics.system import Capacity
from jles.predict.model import Model

COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"


def compiled(model: Model, atoms, count: int):
    """Energy and forces compiled for some devices, and the most rows of a device."""
    system = model_system(
        model,
        atoms,
        skin=0.5,
        moves_cell=False,
        in_field=False,
        devices=jax.devices()[:count],
    )
    positions, cell = (np.asarray(a, np.float32) for a in (atoms.positions, atoms.cell.array))
    neighbors, capacity = system.rebuild_neighbors(positions, cell, Capacity())

    def energy(positions, cell, neighbors):
        return system.energy(positions, cell, neighbors, None)

    arguments = jnp.asarray(positions), jnp.asarray(cell), neighbors
    program = jax.jit(jax.value_and_grad(energy)).lower(*arguments).compile()
    return program, capacity.rows or len(atoms)


def sent(program: str) -> dict[str, list[int]]:
    """Bytes of every collective of a program in float32, by name."""
    found: dict[str, list[int]] = {}
    for shapes, name in re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", program):
        sizes = [
            4 * int(np.prod([int(n) for n in shape.split(",") if n]))
            for shape in re.findall(r"f32\[([\d,]*)\]", shapes)
        ]
        found.setdefault(name, []).extend(sizes)
    return found


def main(chosen):
    model, results = imported("water_v1.pth"), {}
    first = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), index=0)
    for repeat in (1,) if chosen.smoke else (2, 4):
        atoms = first.repeat(repeat)
        for count in (1, 2) if chosen.smoke else (1, 2, 8):
            program, rows = compiled(model, atoms, count)
            memory = program.memory_analysis()
            results[f"{len(atoms)} atoms, {count} devices"] = {
                "rows of the network on a device": rows,
                "bytes sent": sent(program.as_text()),
                "MiB of intermediate arrays on a device": memory.temp_size_in_bytes / 2**20,
                "MiB of arguments on a device": memory.argument_size_in_bytes / 2**20,
            }
            write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/shared_atoms"))
