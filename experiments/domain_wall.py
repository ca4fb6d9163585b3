"""180-degree walls of PbTiO3: how they look, what they cost, and the field that moves them.

Run:     python experiments/domain_wall.py --out results/domain_wall
         python experiments/domain_wall.py --out results/domain_wall_cells --cell 3.86 4.04 ...
Needs:   pbtio3_phase_4.pth (published models); one core, a few minutes.
Writes:  relaxed structures (.extxyz), walls.png, results.json in --out; with --cell no picture.
Expect:  walls about as wide as one cell; 132 mJ/m^2 centred on Pb, 169 mJ/m^2 on Ti (Meyer and
         Vanderbilt, Phys. Rev. B 65, 104111 (2002), LDA, walls without a component along y); a
         barrier of 36 mJ/m^2 (Behera et al., J. Phys. Condens. Matter 23, 175902 (2011), LDA).

The walls are perpendicular to x, the domains polarized along z and -z. All atoms relax in the
cell of experiment at 295 K, and for comparison in that of the model at the published offset of
2.8 GPa, since stresses were not trained. The reference is a single domain in the same cell. The
symmetry of the start is kept: a wall centred on Ti would slide to Pb.
"""

from functools import partial
from itertools import product

import ase.io
import numpy as np
from ase import Atoms, units
from ase.constraints import FixConstraint, FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from common import imported, once, options, run, write_results
from lead_titanate import EPSILON_INFINITY, PRESSURE, cubic, tetragonal
from scipy.optimize import curve_fit

from jles.analysis.estimators.units import POLARIZATION
from jles.files import atomic_path
from jles.models.config import ScreeningConfig
from jles.observables.polarization import polarization_change
from jles.pictures import PALETTE, new_figure, save_figure

CENTRES = ("Pb", "Ti")
TOLERANCE = 2e-3
"""Largest force on an atom at rest, eV/angstrom."""
PUSH = 0.1
"""Angstrom along y; starts a component of the polarization along the wall."""
SURFACE = 1e-3 * units.J / units.m**2
"""1 mJ/m^2 in eV/angstrom^2."""
MEGAVOLT = 1e-2
"""1 MV/cm in V/angstrom."""
FIELD_STEP, HIGHEST = 0.5, 16.0
"""MV/cm, of the fields in which atoms relax."""


# Structures


def relaxed(calculator, start: Atoms, file, steps: int, filtered=lambda atoms: atoms) -> Atoms:
    """The atoms at rest, read if known; `filtered` lets the cell relax, too."""
    if not file.is_file():
        atoms = start.copy()
        atoms.calc = calculator
        with BFGS(filtered(atoms), logfile=None) as search:
            search.run(fmax=TOLERANCE, steps=steps)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            ase.io.write(temporary, atoms, format="extxyz")
    return ase.io.read(file)


def at_pressure(atoms: Atoms) -> FrechetCellFilter:
    """The atoms with their cell at the published pressure."""
    return FrechetCellFilter(atoms, scalar_pressure=PRESSURE * units.GPa)


def widened(atoms: Atoms, layers: int, across: int) -> Atoms:
    """A crystal repeated along x, then along y and z: the order of atoms in all runs."""
    return atoms * (layers, 1, 1) * (1, across, across)


def with_walls(bulk: Atoms, layers: int, centre: str, push: float = 0.0) -> Atoms:
    """Opposite domains along x with walls on two planes of Pb or Ti, their symmetry kept.

    Args:
        bulk: one cell of a single domain.
        layers: cells along x, half of them in each domain.
        centre: "Pb" or "Ti".
        push: of the metal atoms on the walls along y, angstrom.
    """
    moved = bulk.positions - cubic(bulk.cell).positions
    moved -= moved.mean(axis=0)
    atoms = cubic(bulk.cell) * (layers, 1, 1)
    edge = bulk.cell[0, 0]
    from_wall = atoms.positions[:, 0] - (0.0 if centre == "Pb" else 0.5 * edge)
    side = np.sign(np.round(np.sin(2 * np.pi * from_wall / (layers * edge)), 6))
    atoms.positions += side[:, None] * np.tile(moved, (layers, 1))
    on_wall = (side == 0) & (atoms.symbols == centre)
    atoms.positions[on_wall, 1] += push
    atoms.set_constraint(FixSymmetry(atoms))
    return atoms


# Polarization of layers


class Layers:
    """The planes perpendicular to x of a supercell, PbO and TiO2 in turn.

    Attributes:
        sites: of the cubic crystal in the same cell, angstrom, (atoms, 3).
        places: x of the planes in edges of a cell, (planes,).
        weights: displacements along y and z to polarizations, (2, planes, atoms); the atoms of
            a plane count fully and those of its neighbours half, with the Born charges of the
            cubic crystal.
    """

    def __init__(self, model, cell, layers: int, across: int = 1):
        one = cubic(cell)
        born = model.predict(one, want=("born_charges",), sum_rule=True).born_charges
        crystal = widened(one, layers, across)
        self.sites = crystal.positions
        self.places = 0.5 * np.arange(2 * layers)
        plane = np.round(2 * crystal.positions[:, 0] / one.cell[0, 0]).astype(int)
        own = (plane == np.arange(2 * layers)[:, None]).astype(float)
        share = own + 0.5 * (np.roll(own, 1, axis=0) + np.roll(own, -1, axis=0))
        volume = crystal.get_volume() / layers
        charges = np.tile(born[:, (1, 2), (1, 2)], (len(crystal) // 5, 1))
        self.weights = POLARIZATION / volume * share * charges.T[:, None]

    def polarization(self, positions) -> np.ndarray:
        """Along y and z, (..., planes, 2), microC/cm^2; atoms in the images of the sites."""
        moved = (positions - self.sites)[..., 1:]
        return np.einsum("kpi,...ik->...pk", self.weights, moved)


def wall_fits(places, profile, layers: int, centre: str) -> list[dict]:
    """P tanh((x - x0)/w) through the polarization around both walls; lengths in edges."""

    def wall(x, height, middle, width):
        return height * np.tanh((x - middle) / width)

    found = []
    for number in (0, 1):
        at = 0.5 * number * layers + (0.0 if centre == "Pb" else 0.5)
        x = (places - at + 0.5 * layers) % layers - 0.5 * layers
        near = np.abs(x) < 0.25 * layers
        guess = (profile[near & (x > 0)].mean(), 0.0, 0.5)
        values, _ = curve_fit(wall, x[near], profile[near], guess)
        found.append(dict(zip(("height", "middle", "width"), values.tolist(), strict=True)))
    return found


# Walls at rest


def bulk_numbers(model, bulk: Atoms) -> dict:
    """Cell and polarization of a single domain."""
    layers = Layers(model, bulk.cell, 1)

    def born(positions):
        atoms = Atoms(bulk.symbols, positions, cell=bulk.cell, pbc=True)
        return model.predict(atoms, want=("born_charges",), sum_rule=True).born_charges

    change = polarization_change(born, layers.sites, bulk.positions)
    return {
        "edges": bulk.cell.lengths().tolist(),
        "polarization": float(POLARIZATION * change[2] / bulk.get_volume()),
        "from cubic Born charges": float(layers.polarization(bulk.positions)[0, 1]),
    }


def wall_energy(bulk: Atoms, walls: Atoms) -> float:
    """Energy of relaxed walls (mJ/m^2); `bulk` is one cell of a single domain."""
    layers = len(walls) // len(bulk)
    excess = walls.get_potential_energy() - layers * bulk.get_potential_energy()
    area = bulk.cell[1, 1] * bulk.cell[2, 2]
    return float(excess / (2.0 * area * SURFACE))


def at_rest(planes: Layers, bulk: Atoms, walls: Atoms, centre: str) -> dict:
    """Energy and polarization of relaxed walls; `bulk` is one cell of a single domain."""
    layers = len(walls) // len(bulk)
    along_y, along_z = planes.polarization(walls.positions).T
    return {
        "energy": wall_energy(bulk, walls),
        "largest force": float(np.linalg.norm(walls.get_forces(), axis=1).max()),
        "largest along y": float(np.abs(along_y).max()),
        "fits": wall_fits(planes.places, along_z, layers, centre),
        "places": planes.places.tolist(),
        "along y": along_y.tolist(),
        "along z": along_z.tolist(),
    }


def walls_at_rest(model, chosen) -> dict:
    """Single domains and walls in both cells, with and without a component along y."""
    calculator = model.calculator()
    found = {"bulk": {}, "walls": {}}
    for cell, filtered in (("experiment", lambda atoms: atoms), ("model", at_pressure)):
        file = chosen.out / f"bulk_{cell}.extxyz"
        bulk = relaxed(calculator, tetragonal(), file, chosen.steps, filtered)
        found["bulk"][cell] = bulk_numbers(model, bulk)
        lengths = chosen.layers if cell == "experiment" else chosen.layers[:1]
        for layers, centre, push in product(lengths, CENTRES, (0.0, PUSH)):
            start = with_walls(bulk, layers, centre, push)
            name = f"{cell}_{layers}_{centre}" + ("_pushed" if push else "")
            walls = relaxed(calculator, start, chosen.out / f"{name}.extxyz", chosen.steps)
            planes = Layers(model, bulk.cell, layers)
            row = found["walls"][name] = at_rest(planes, bulk, walls, centre)
            print(name, {key: row[key] for key in ("energy", "largest along y", "fits")})
    return found


def walls_in_cells(model, chosen) -> list[dict]:
    """Polarization of a single domain and energies of walls without P_y in given cells."""
    calculator = model.calculator()
    found = []
    for a, c in chosen.cell:
        start = tetragonal()
        start.set_cell([a, a, c], scale_atoms=True)
        bulk = relaxed(calculator, start, chosen.out / f"bulk_{a}_{c}.extxyz", chosen.steps)
        row = {"a": a, "c": c, "polarization": bulk_numbers(model, bulk)["polarization"]}
        for centre in CENTRES:
            walls = with_walls(bulk, chosen.layers[0], centre)
            file = chosen.out / f"{a}_{c}_{chosen.layers[0]}_{centre}.extxyz"
            row[centre] = wall_energy(bulk, relaxed(calculator, walls, file, chosen.steps))
        print(row, flush=True)
        found.append(row)
    return found


class NoNetForce(FixConstraint):
    """Takes the net force evenly from all atoms, as `jles md` does in a field."""

    def adjust_positions(self, atoms, new):
        """Nothing is held."""

    def adjust_forces(self, atoms, forces):
        forces -= forces.mean(axis=0)


def threshold(model, start: Atoms, highest: float, steps: int) -> dict:
    """The first field along z (MV/cm) in which walls or a single domain do not stay.

    The field rises by `FIELD_STEP` from zero; the atoms relax in each. They have moved if the
    mean polarization is more than half way to that of a single domain along the field.
    """
    atoms = start.copy()
    planes = Layers(model, tetragonal().cell, len(atoms) // 5)
    goal = np.abs(planes.polarization(atoms.positions)[:, 1]).max()
    means = []
    for field in FIELD_STEP * np.arange(1 + round(highest / FIELD_STEP)):
        atoms.calc = model.calculator(field=[0.0, 0.0, MEGAVOLT * field])
        atoms.set_constraint(NoNetForce())
        with BFGS(atoms, logfile=None) as search:
            search.run(fmax=TOLERANCE, steps=steps)
        means.append(float(planes.polarization(atoms.positions)[:, 1].mean()))
        if means[-1] > 0.5 * (means[0] + goal):
            return {"moved at": float(field), "mean polarization": means}
    return {"moved at": None, "mean polarization": means}


def thresholds(model, chosen) -> dict:
    """Fields that move walls at rest and that reverse a single domain at rest."""
    names = {
        "walls": f"experiment_{chosen.layers[0]}_Pb_pushed",
        "single domain": "bulk_experiment",
    }
    highest = 2 * FIELD_STEP if chosen.smoke else HIGHEST
    found = {}
    for name, file in names.items():
        start = ase.io.read(chosen.out / f"{file}.extxyz")
        known = chosen.out / f"threshold_{file}.json"
        found[name] = once(known, partial(threshold, model, start, highest, chosen.steps))
        print(name, found[name], flush=True)
    return found


def draw_walls(walls: dict, case: str, file) -> None:
    """Polarization of the planes across relaxed walls, with and without a component along y."""
    figure, axes = new_figure(4.4, 3.4, columns=2)
    for axis, centre in zip(axes, CENTRES, strict=True):
        flat, turned = walls[f"{case}_{centre}"], walls[f"{case}_{centre}_pushed"]
        curves = (
            (flat, "along z", "$P_z$ alone"),
            (turned, "along z", "$P_z$"),
            (turned, "along y", "$P_y$"),
        )
        for (row, key, label), color, line in zip(
            curves, PALETTE, ("-", "--", "-"), strict=False
        ):
            axis.plot(
                row["places"], row[key], "o" + line, color=color, markersize=3.5, label=label
            )
        energies = f"{flat['energy']:.0f} mJ/m², with $P_y$ {turned['energy']:.0f} mJ/m²"
        axis.set_title(f"centred on {centre}: {energies}", fontsize=9)
        axis.set(xlabel="x (edges of a cell)", ylabel="polarization (µC/cm²)")
        axis.legend(frameon=False, fontsize=8, loc="lower right")
    save_figure(figure, file)


def main(chosen):
    if chosen.smoke:
        chosen.layers, chosen.steps = [4], 3
    model = imported("pbtio3_phase_4.pth", screening=ScreeningConfig(EPSILON_INFINITY, "Ti"))
    if chosen.cell:
        write_results(chosen.out, {"cells": walls_in_cells(model, chosen)})
        return
    found = walls_at_rest(model, chosen)
    draw_walls(found["walls"], f"experiment_{chosen.layers[-1]}", chosen.out / "walls.png")
    found["in a field"] = thresholds(model, chosen)
    write_results(chosen.out, found)


if __name__ == "__main__":
    parser = options(__doc__, "results/domain_wall")
    parser.add_argument("--layers", type=int, nargs="+", default=[8, 12], help="cells along x")
    parser.add_argument("--steps", type=int, default=300, help="at most, of a minimisation")
    parser.add_argument(
        "--cell", type=float, nargs=2, action="append", metavar=("A", "C"),
        help="only walls without P_y, in this cell (angstrom); may be given several times",
    )  # fmt: skip
    run(main, parser)
