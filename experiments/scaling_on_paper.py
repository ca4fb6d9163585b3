"""What would a step cost on up to 1,024 accelerators? From measured constants, on paper.

Run:     python experiments/scaling_on_paper.py --out results/scaling_on_paper
Needs:   nothing; a second.
Writes:  results.json and tables.md in --out, the tables of docs/scale.md.
Expect:  one device prefers the mesh from 10^4 atoms on, many prefer the direct sum, because
         every device transforms the whole mesh.

Nothing is run. Costs of the network and of the sums are those measured on two CPU cores, times
an assumed speed of a device; communication is counted in bytes and divided by an assumed
bandwidth. Change the constants below and run it again.
"""

import math
from typing import NamedTuple

import numpy as np
from common import options, run, write_results

from jles.electrostatics.cost import direct_cost, mesh_cost
from jles.electrostatics.sums.kgrid import plan_kgrid
from jles.electrostatics.sums.mesh import plan_mesh
from jles.files import write_atomically

NETWORK = 38e-6
"""s per atom of water_v1, energy and forces, two CPU cores (`large_systems.py`)."""

UNIT = 39.8e-3
"""s: the unit of `jles/electrostatics/cost.py` on the same cores."""

ATOM_BYTES = 24e3
"""Memory per atom: growth of the peak in `large_systems.py`."""

FRAME = 15e-3
"""s per frame of a training step, 192 atoms of water, two CPU cores (`make bench`)."""

SPEED = 50.0
"""A device, in units of these two cores (assumed)."""

DEVICE_MEMORY = 80e9
LINK = 50e9
"""Bytes/s in each direction between devices."""

LATENCY = 10e-6
"""s for each hop of a message."""

DENSITY, REACH, K_MAX, ACCURACY = 0.1, 5.5, math.pi, 1e-4
"""Atoms/angstrom^3, receptive field (angstrom), cutoff of the sum (1/angstrom), of forces."""

ATOMS = [10**n for n in range(4, 10)]
DEVICES = [1, 8, 64, 1024]
METHODS = ("direct", "mesh", "mesh in parts")


class Step(NamedTuple):
    """A step on one device of many.

    Attributes:
        compute: s.
        wait: s in communication.
        memory: bytes.
    """

    compute: float
    wait: float
    memory: float

    @property
    def seconds(self) -> float:
        """Without overlap of the two."""
        return self.compute + self.wait


def sizes(atoms: float):
    """Cell, wavevectors of the direct sum (grid) and mesh of a cubic box."""
    cell = (atoms / DENSITY) ** (1.0 / 3.0) * np.eye(3)
    return cell, plan_kgrid(cell, K_MAX), plan_mesh(cell, K_MAX, accuracy=ACCURACY)


def all_reduce(size: float, devices: int) -> float:
    """s for a sum of arrays of `size` bytes over a ring of devices."""
    if devices == 1:
        return 0.0
    return 2.0 * size * (devices - 1) / devices / LINK + 2.0 * LATENCY * math.log2(devices)


def ghosts(atoms: float) -> float:
    """Atoms within reach around a cube that holds `atoms`."""
    edge = (atoms / DENSITY) ** (1.0 / 3.0)
    return DENSITY * ((edge + 2.0 * REACH) ** 3 - edge**3)


def step(atoms: float, devices: int, method: str) -> Step:
    """One evaluation of energy and forces."""
    _, grid, mesh = sizes(atoms)
    own, points = atoms / devices, math.prod(mesh.sizes)
    memory, wait = ATOM_BYTES * own, 0.0
    if devices > 1:
        # Positions of ghosts in, forces on them out: three float32 each.
        wait = 24.0 * min(ghosts(own), atoms) / LINK + 2.0 * LATENCY
    if method == "direct":
        table = 32.0 * math.prod(n + 1 for n in grid)
        sums, size = direct_cost(own, grid, 0), table
    else:
        parts = devices if method == "mesh in parts" else 1
        transforms = mesh_cost(0, mesh, 0)
        sums = mesh_cost(own, mesh, 0) - transforms + transforms / parts
        table, size = 24.0 * points / parts, 4.0 * points
    if method == "mesh in parts":
        # Two transpositions forth and two back, of half a complex mesh.
        wait += 4.0 * (4.0 * points / devices / LINK + LATENCY * math.log2(max(devices, 2)))
    else:
        wait += all_reduce(size, devices)
    compute = (NETWORK * own + UNIT * sums) / SPEED
    return Step(compute, wait, memory + table)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(line) + " |" for line in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def number(value: float) -> str:
    """Two digits."""
    if value >= 1e6:
        base, power = f"{value:.1e}".split("e")
        return f"{float(base):g}e{int(power)}"
    return f"{float(f'{value:.2g}'):,g}"


def with_unit(value: float, units: dict[str, float]) -> str:
    """In the largest of the units that it reaches, else in the last."""
    name = next((name for name, unit in units.items() if value >= unit), list(units)[-1])
    return f"{number(value / units[name])} {name}"


def seconds(value: float) -> str:
    """A time with its unit."""
    return with_unit(value, {"s": 1.0, "ms": 1e-3, "µs": 1e-6})


def in_bytes(value: float) -> str:
    """A size with its unit."""
    return with_unit(value, {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3})


def sizes_table() -> str:
    """What every device holds and adds up, whatever their number."""
    rows = []
    for atoms in ATOMS:
        cell, grid, mesh = sizes(atoms)
        waves = 32.0 * math.prod(n + 1 for n in grid)
        points = math.prod(mesh.sizes)
        rows.append(
            [
                f"1e{round(math.log10(atoms))}",
                f"{cell[0, 0]:,.0f} Å",
                in_bytes(waves),
                f"{mesh.sizes[0]}³",
                in_bytes(4.0 * points),
                in_bytes(24.0 * points),
            ]
        )
    header = ["atoms", "edge", "structure factor", "mesh", "its density", "memory of the mesh"]
    return table(header, rows)


def best_table() -> str:
    """Time of a step by atoms and devices, with the cheaper sum that fits."""
    rows = []
    for atoms in ATOMS:
        row = [f"1e{round(math.log10(atoms))}"]
        for devices in DEVICES:
            steps = {name: step(atoms, devices, name) for name in METHODS[:2]}
            fits = {n: s for n, s in steps.items() if s.memory < DEVICE_MEMORY}
            if not fits:
                least = min(s.memory for s in steps.values())
                row.append(f"needs {in_bytes(least)}")
                continue
            name = min(fits, key=lambda n: fits[n].seconds)
            taken = fits[name].seconds
            row.append(f"{seconds(taken)}, {name[0]}, {fits[name].wait / taken:.0%}")
        rows.append(row)
    header = [f"{devices:,} device{'s' * (devices > 1)}" for devices in DEVICES]
    return table(["atoms", *header], rows)


def scaling_table(atoms_on, devices_list) -> str:
    """Time and efficiency of each sum; `atoms_on` gives the atoms for a number of devices."""
    rows = []
    for devices in devices_list:
        row = [f"{devices:,}", number(atoms_on(devices))]
        for name in METHODS:
            one = step(atoms_on(1), 1, name)
            many = step(atoms_on(devices), devices, name)
            work = atoms_on(devices) / atoms_on(1) / devices
            row.append(f"{seconds(many.seconds)}, {work * one.seconds / many.seconds:.0%}")
        rows.append(row)
    return table(["devices", "atoms", *METHODS], rows)


def training_table() -> str:
    """Frames/s of a training, 8 frames of 192 atoms a device and step."""
    frames, atoms = 8, 192
    neighbors = DENSITY * 4.0 / 3.0 * math.pi * REACH**3
    # Index, shift and mask of a neighbour; positions, forces, number and mask of an atom.
    frame_bytes = atoms * (17.0 * neighbors + 29.0)
    rows = []
    for devices in (1, 8, 64, 512, 1024):
        row = [f"{devices:,}"]
        for parameters in (25e3, 5e6):
            taken = frames * FRAME / SPEED + all_reduce(4.0 * parameters, devices)
            row.append(number(frames * devices / taken))
        rate = float(row[1].replace(",", ""))
        row += [in_bytes(rate * frame_bytes) + "/s", in_bytes(rate * 29.0 * atoms) + "/s"]
        rows.append(row)
    header = [
        "devices",
        "frames/s, 25 thousand parameters",
        "5 million",
        "arrays to devices",
        "frames from disk",
    ]
    return table(header, rows)


def main(chosen):
    out = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        "Sizes": sizes_table(),
        "Time of a step": best_table(),
        "Strong scaling": scaling_table(lambda _: 1e6, (1, 8, 64, 256, 1024)),
        "Weak scaling": scaling_table(lambda devices: 1e5 * devices, (1, 8, 64, 256, 1024)),
        "Training": training_table(),
    }
    text = "\n\n".join(f"{name}\n\n{rows}" for name, rows in parts.items()) + "\n"
    write_atomically(out / "tables.md", text)
    write_results(out, {name: rows.splitlines() for name, rows in parts.items()})


if __name__ == "__main__":
    run(main, options(__doc__, "results/scaling_on_paper"))
