"""Potassium fluoride solution between faces of Pt(111): layers, orientation, potential.

Run:     python experiments/interface_platinum.py --out results/interface_platinum
Needs:   seeds/pt_kf_aq_les.pth (published model), water-rpbe-d3 (JLES_DATA); one core,
         25 minutes.
Writes:  the run (`jles md`), results.json and interface_platinum.png in --out.
Expect:  first peaks K-O at 2.7 to 2.8 and F-O at 2.6 to 2.7 angstrom (diffraction, Ohtaki and
         Radnai, Chem. Rev. 93, 1157 (1993)); water in layers on both faces of platinum, the
         first at 2 to 3.5 angstrom; no field in the middle of the solution.

No structure comes with the model. The start is made here: platinum with the lattice constant of
the model, bulk water cut to its cell, ions in the places of molecules. Molecules that overlap
are pushed apart as rigid bodies before the model sees them. Hydrogen has a mass of 4 u, which
changes no average over positions and allows steps of 2 fs. Both faces are the same, so the
difference between the two halves of the cell shows the statistical error.
"""

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import neighbor_list
from common import imported, run, simulated, write_results
from interfaces import (
    draw_across,
    first_layer,
    heavy,
    in_halves,
    middle_of,
    orientation,
    sampled,
    sampling_options,
    water_box,
    water_of,
)

from jles.analysis.conditions import mean_temperature
from jles.analysis.estimators.planar import planes_of
from jles.analysis.reports.profile import POTENTIAL, profiles
from jles.analysis.reports.rdf import radial_distributions
from jles.analysis.run import open_run

MODEL = "seeds/pt_kf_aq_les.pth"
TEMPERATURE = 330.0
TIMESTEP = 2.0
WIDTH = 0.25
"""Of a layer, angstrom."""
DENSITY = 0.0334
"""Molecules of ambient water, 1/angstrom^3."""
METAL = (4, 4, 4)
"""Atoms of platinum along x and y, and layers."""
OVERLAP = 2.0
"""Oxygens nearer than this are on top of each other, angstrom."""
CONTACT = 2.0
"""What the metal keeps free of oxygen, angstrom from the plane of its outer atoms."""
APART = {
    ("O", "O"): 2.5, ("O", "H"): 1.5, ("H", "H"): 1.4, ("K", "O"): 2.5, ("K", "H"): 2.2,
    ("F", "O"): 2.4, ("F", "H"): 1.4, ("K", "F"): 4.0, ("K", "K"): 4.0, ("F", "F"): 4.0,
    ("Pt", "O"): 2.1, ("Pt", "H"): 2.0, ("Pt", "K"): 3.0, ("Pt", "F"): 2.1,
}  # fmt: skip
"""Atoms of different molecules start at least this far from each other, angstrom."""
NEARLY = 0.05
"""How much nearer is good enough, angstrom."""
FIRST_SHELL = 4.0
"""Upper end of the search for the first peak and the minimum behind it, angstrom."""
FIRST_LAYER = 3.8
"""Upper end of the first layer of water over the plane of the outer atoms, angstrom."""
MIDDLE = 4.0
"""Half the thickness of what counts as the middle of the solution, angstrom."""


def lattice_constant(model) -> float:
    """Of platinum, at the minimum of a parabola through energies of the model, angstrom."""
    tried = np.linspace(3.86, 3.96, 6)
    energies = [model.predict(bulk("Pt", a=a, cubic=True).repeat(3)).energy for a in tried]
    square, linear, _ = np.polyfit(tried, np.asarray(energies, float), 2)
    return float(-0.5 * linear / square)


def cut(lengths) -> Atoms:
    """Bulk water whose oxygens are within these lengths; tags number the molecules.

    Of two molecules that the new cell puts on top of each other, one is left out.
    """
    many = water_box().repeat((2, 2, 3))
    oxygens, hydrogens = water_of(many)
    inside = (many.positions[oxygens] < lengths).all(axis=1)
    chosen = np.column_stack([oxygens, hydrogens])[inside].ravel()
    water = Atoms(many.numbers[chosen], many.positions[chosen], cell=lengths, pbc=True)
    water.set_tags(np.arange(len(water)) // 3)
    i, j = neighbor_list("ij", water, {("O", "O"): OVERLAP})
    return water[~np.isin(water.get_tags(), water.get_tags()[np.maximum(i, j)])]


def dissolved(atoms: Atoms, pairs: int, away: float, seed: int = 0) -> Atoms:
    """K and F in the places of molecules, `away` (angstrom) from each other and from metal."""
    places, taken = list(np.flatnonzero(atoms.numbers == 78)), []
    for oxygen in np.random.default_rng(seed).permutation(np.flatnonzero(atoms.numbers == 8)):
        if not places or atoms.get_distances(oxygen, places, mic=True).min() > away:
            places.append(oxygen)
            taken.append(oxygen)
        if len(taken) == 2 * pairs:
            break
    tags = atoms.get_tags()
    ions = Atoms("KF" * pairs, positions=atoms.positions[taken], tags=tags[taken])
    return atoms[~np.isin(tags, tags[taken])] + ions


def pushed_apart(atoms: Atoms, sweeps: int = 60) -> Atoms:
    """Moves whole molecules, not metal, until all pairs are nearly as far as `APART`.

    It stops after `sweeps` in any case; the relaxation that follows does the rest.
    """
    moved, tags = atoms.copy(), atoms.get_tags()
    limits = {tuple(sorted(pair)): limit for pair, limit in APART.items()}
    symbols, metal = np.array(atoms.symbols), atoms.numbers == 78
    for _ in range(sweeps):
        i, j, r, vectors = neighbor_list("ijdD", moved, APART)
        other = tags[i] != tags[j]
        i, j, r, vectors = i[other], j[other], r[other], vectors[other]
        pairs = zip(symbols[i], symbols[j], strict=True)
        limit = np.array([limits[tuple(sorted(pair))] for pair in pairs])
        if (limit - r).max(initial=0.0) < NEARLY:
            break
        pushes = np.zeros((tags.max() + 1, 3))
        np.add.at(pushes, tags[i], -0.55 * ((limit - r) / r)[:, None] * vectors)
        moved.positions += np.where(metal[:, None], 0.0, pushes[tags])
    return moved


def between_metal(constant: float, thickness: float) -> Atoms:
    """Layers of Pt(111), and water of ambient density up to their next image."""
    metal = fcc111("Pt", METAL, a=constant, orthogonal=True)
    metal = Atoms(metal.numbers, metal.positions, cell=metal.cell)
    metal.positions[:, 2] -= metal.positions[:, 2].min()
    top, (wide, deep) = metal.positions[:, 2].max(), metal.cell.lengths()[:2]
    water = cut(np.array([wide, deep, thickness]))
    room = len(water) / 3 / (DENSITY * wide * deep)
    centres = np.repeat(water.positions[::3, 2], 3)
    water.positions[:, 2] += (room / thickness - 1.0) * centres + top + CONTACT
    metal.set_tags([water.get_tags().max() + 1] * len(metal))
    whole = metal + water
    whole.cell, whole.pbc = [wide, deep, top + room + 2.0 * CONTACT], True
    return whole


def start(constant: float, smoke: bool) -> Atoms:
    """The system as built."""
    metal = between_metal(constant, 6.0 if smoke else 20.0)
    return pushed_apart(dissolved(metal, 1 if smoke else 2, 2.0 if smoke else 4.5))


def dynamics(model, built: Atoms, chosen):
    """Relaxation, then a run with a thermostat; both resume where they stopped."""
    if chosen.smoke:
        chosen.relaxing, chosen.settling, chosen.picoseconds = 20, 0.0, 0.06
    relaxing = {"steps": chosen.relaxing, "ensemble": {"kind": "minimise"}}
    relaxed = simulated(model, heavy(built), relaxing, chosen.out / "relaxed")
    sampled(
        model,
        relaxed,
        chosen,
        TIMESTEP,
        TEMPERATURE,
        chosen.out / "run",
        velocities={"source": "draw", "temperature": 0.3 * TEMPERATURE},
        record={"thermo": 5, "positions": 5, "charges": 5},
        block=25,
        checkpoint=50,
    )
    return open_run(chosen.out / "run", 1e3 * chosen.settling)


def stability(model, built: Atoms, trajectory) -> dict:
    """Whole molecules and largest force (eV/angstrom) as built and at the end; temperatures."""
    end = built.copy()
    end.positions = trajectory.read("positions").values[-1]
    temperatures = open_run(trajectory.path).read("thermo", "temperature").values
    return {
        "molecules": [len(water_of(atoms)[0]) for atoms in (built, end)],
        "largest_force": [
            float(np.linalg.norm(model.predict(atoms).forces, axis=1).max())
            for atoms in (built, end)
        ],
        "highest_temperature": float(temperatures.max()),
        "temperature": mean_temperature(trajectory),
    }


def shells(table: dict, symbols: list[str]) -> dict:
    """First peaks of K-O and F-O, and oxygens up to the minimum behind them."""
    radii, record = table["r (angstrom)"], {}
    for pair, ion in (("O-K", "K"), ("O-F", "F")):
        g = table[f"g {pair} (1)"]
        top = int(np.argmax(g))
        bottom = top + int(np.argmin(g[top:]))
        within = next(table[name] for name in table if name.startswith(f"n {pair} up to"))
        record[f"{ion}-O"] = {
            "peak_angstrom": float(radii[top]),
            "minimum_angstrom": float(radii[bottom]),
            "oxygens": float(within[bottom] * symbols.count("O") / symbols.count(ion)),
        }
    return record


def of_elements(trajectory, symbols: list[str]) -> dict:
    """Mean latent charges (e) and displacements from the first to the last frame (angstrom)."""
    positions = trajectory.read("positions").values
    charges = trajectory.read("charges").values.sum(axis=-1).mean(axis=0)
    moved = np.sum((positions[-1] - positions[0]) ** 2, axis=1)
    record = {}
    for symbol in sorted(set(symbols)):
        chosen = np.array(symbols) == symbol
        record[symbol] = {
            "charge": float(charges[chosen].mean()),
            "rms_displacement": float(np.sqrt(moved[chosen].mean())),
        }
    return record


def planes(built: Atoms, frames) -> tuple[float, float]:
    """Mean heights of the metal atoms below and above the solution, angstrom."""
    metal = np.flatnonzero(built.numbers == 78)
    heights = built.positions[metal, 2]
    lower, upper = metal[heights > heights.max() - 1.0], metal[heights < heights.min() + 1.0]
    return (
        float(frames[:, lower, 2].mean()),
        float(frames[:, upper, 2].mean() + built.cell[2, 2]),
    )


def faces(table: dict, water, cosine, limits: tuple[float, float]) -> dict:
    """First layers over the metal planes at these heights, and the middle of the solution."""
    heights, record = table["height (angstrom)"], {}
    for face, sign, over in (
        ("lower", 1.0, heights - limits[0]),
        ("upper", -1.0, limits[1] - heights),
    ):
        first = (over > 0.0) & (over < FIRST_LAYER)
        record[face] = first_layer(over, first, water, cosine, sign)
    inside = np.abs(heights - 0.5 * sum(limits)) < MIDDLE
    metal = heights < limits[0]
    record["middle"] = middle_of(table, water, inside) | {
        "potential_of_solution_less_metal": float(
            table[POTENTIAL][inside].mean() - table[POTENTIAL][metal].mean()
        ),
    }
    return record


def main(chosen):
    model = imported(MODEL)
    constant = lattice_constant(model)
    built = start(constant, chosen.smoke)
    trajectory = dynamics(model, built, chosen)
    table = profiles([trajectory], width=WIDTH).columns
    layers = len(table["height (angstrom)"])
    edges = np.linspace(0.0, planes_of(built.cell.array).period, layers + 1)
    frames, symbols = trajectory.read("positions").values, built.get_chemical_symbols()
    water, cosine = (in_halves(part) for part in orientation(built, frames, edges))
    distances = radial_distributions([trajectory], r_max=FIRST_SHELL, width=0.1).columns
    results = {
        "lattice_constant": constant,
        "atoms": {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))},
        "cell": built.cell.lengths().tolist(),
        "frames": len(frames),
        "stability": stability(model, built, trajectory),
        "shells": shells(distances, symbols),
        "elements": of_elements(trajectory, symbols),
        "faces": faces(table, water[0], cosine[0], planes(built, frames)),
    }
    path = chosen.out / "interface_platinum.png"
    draw_across(path, table, water, cosine, "Pt", {"K": 5, "F": 5})
    write_results(chosen.out, results)


def dynamics_options(*arguments):
    """`sampling_options` and the length of the relaxation."""
    found = sampling_options(*arguments)
    found.add_argument("--relaxing", type=int, default=100, help="steps of relaxation (100)")
    return found


if __name__ == "__main__":
    run(main, dynamics_options(__doc__, "results/interface_platinum", 0.5, 1.5))
