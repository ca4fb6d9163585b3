"""Which states of hot dense water are solid, superionic and fluid?

Run:     python experiments/superionic_search.py --out results/superionic_search
Needs:   superionic_fit.pth (published model), superionic-water-bec (JLES_DATA); one core, about
         two minutes a state.
Writes:  a folder of runs (`jles md`) for each state, superionic_search.png and results.json in
         --out. Finished states are kept, and others of the same folder are shown with them.
Expect:  a superionic phase with a bcc lattice of oxygens between a solid at low temperatures
         and a liquid: experiments see it from 900 K and 20 GPa on (Prakapenka et al., Nat.
         Phys. 17, 1233 (2021)), simulations call it ice VII'' (Reinhardt et al., Nat. Commun.
         13, 4707 (2022)).

Each state starts from the crystal of 4 g/cm3, expanded to its density. A state is
- fluid if the largest structure factor of the oxygens falls below `LEAST_ORDER` or their sites
  move more between the halves of the run than the atoms vibrate about them;
- superionic if the oxygens form a crystal and protons have moved farther than half a lattice
  constant (root mean square, after half the run);
- solid otherwise.
"""

from pathlib import Path

import numpy as np
from ase import units
from common import duration, imported, options, run, settled, simulated, write_results
from superionic_ice import TIMESTEP, bath, order_of, oxygen_order, start_of

from jles.analysis.estimators.transport import longest_lag, mean_squares, spread_lags
from jles.analysis.estimators.units import DIFFUSION
from jles.analysis.motion import centre_of_mass, self_diffusion
from jles.analysis.run import open_run
from jles.pictures import ACCENT, GUIDE, INK, SECOND, new_figure, save_figure

LEAST_ORDER = 35.0
"""Of 54 oxygens; vibrations lower the 54 of an ideal crystal."""
LATTICE_CONSTANTS = 3
"""Cubic cells of the bcc lattice along an edge of the simulated cell."""
ELEMENTS = {"O": 8, "H": 1}
COLORS = {"solid": INK, "superionic": SECOND, "fluid": ACCENT}


def simulate(model, density: float, temperature: float, chosen, out: Path) -> None:
    """One state: the crystal at this density, thermalized, then with Nosé-Hoover."""
    length = duration(chosen.settling, TIMESTEP)
    record = {"thermo": 25, "positions": 25}
    hot = settled(model, start_of(density), length, temperature, out / "settle", record=record)
    simulated(
        model,
        hot,
        {
            **duration(chosen.picoseconds, TIMESTEP),
            "ensemble": bath(temperature),
            "record": record,
        },
        out / "run",
    )


def measured(trajectory) -> dict:
    """What tells the kind of a state, and mean square displacements (angstrom^2) by element."""
    record, numbers = trajectory.read("positions"), trajectory.numbers
    cells = trajectory.read("positions", "cell").values
    paths = record.values - centre_of_mass(trajectory).values[:, None]
    lags = spread_lags(len(paths) // 2)
    half = len(paths) // 2
    orders = [
        order_of(oxygens, cell)
        for oxygens, cell in zip(paths[half:, numbers == 8], cells[half:], strict=True)
    ]
    diffusion = self_diffusion([trajectory], longest_lag(len(paths)))
    return {
        "temperature": float(trajectory.read("thermo", "temperature").values.mean()),
        "pressure": float(trajectory.read("thermo", "pressure").values.mean() / units.GPa),
        "lattice constant": float(np.cbrt(np.linalg.det(cells[0])) / LATTICE_CONSTANTS),
        "order": float(np.mean(orders)),
        **oxygen_order(trajectory),
        "bridges kept": bridges_kept(paths[0], paths[-1], numbers, cells[0]),
        "diffusion": {
            name: [float(x) for x in diffusion[z].scaled(DIFFUSION)[:2]]
            for name, z in ELEMENTS.items()
        },
        "times": (lags * record.interval).tolist(),
        "squares": {
            name: mean_squares(paths[:, numbers == z], lags).tolist()
            for name, z in ELEMENTS.items()
        },
    }


def bridges_kept(before, after, numbers, cell) -> float:
    """Share of protons that are still nearest to one of the two oxygens of their first bond.

    The proton of a hydrogen bond O-H...O may change its place between the two oxygens.
    """
    first = np.argsort(distances(before, numbers, cell), axis=1)[:, :2]
    last = np.argmin(distances(after, numbers, cell), axis=1)
    return float(np.mean(np.any(first == last[:, None], axis=1)))


def distances(positions, numbers, cell):
    """From each proton to each oxygen, to the nearest image in a cubic cell, angstrom."""
    apart = positions[numbers == 1][:, None] - positions[numbers == 8]
    edge = cell[0, 0]
    return np.linalg.norm(apart - edge * np.round(apart / edge), axis=-1)


def kind_of(state: dict) -> str:
    """Solid, superionic or fluid."""
    if state["order"] < LEAST_ORDER or state["drift between halves"] > state["vibration"]:
        return "fluid"
    hopped = state["squares"]["H"][-1] > (0.5 * state["lattice constant"]) ** 2
    return "superionic" if hopped else "solid"


def draw(path: Path, states: dict) -> None:
    """Map of the states, and mean square displacements of protons and oxygens."""
    figure, (chart, protons, oxygens) = new_figure(4.6, 4.0, columns=3)
    draw_map(chart, states)
    draw_paths(protons, states, "H", "protons")
    draw_paths(oxygens, states, "O", "oxygens")
    edges = [0.25 * state["lattice constant"] ** 2 for state in states.values()]
    protons.axhspan(min(edges), max(edges), color=GUIDE, alpha=0.3, linewidth=0)
    figure.legend(
        *chart.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    save_figure(figure, path)


def draw_map(axis, states: dict) -> None:
    """Kind of each state, with the order of the oxygens and the diffusion of the protons."""
    for kind, color in COLORS.items():
        axis.plot([], [], "o", color=color, label=kind)
    for place, state in states.items():
        color = COLORS[state["kind"]]
        axis.plot(*place, "o", markersize=9, color=color)
        axis.annotate(
            f"{state['order']:.0f} | {1e4 * state['diffusion']['H'][0]:z.1f}", place,
            xytext=(0, 9), textcoords="offset points", ha="center", fontsize=7, color=color,
        )  # fmt: skip
    axis.set_title("order (of 54) | proton diffusion (10⁻⁴ cm²/s)", fontsize=9)
    axis.set(xlabel="density (g/cm³)", ylabel="temperature (K)")
    axis.set(xlim=(1.75, 4.25), ylim=(900, 3200))


def draw_paths(axis, states: dict, name: str, title: str) -> None:
    """Mean square displacement of an element against time, in the color of the state."""
    for state in states.values():
        color = COLORS[state["kind"]]
        times, squares = 1e-3 * np.array(state["times"]), state["squares"][name]
        axis.plot(times, squares, color=color, linewidth=1.0)
    axis.set_title(title, fontsize=9)
    axis.set(xlabel="time (ps)", ylabel="mean square displacement (Å²)", xlim=(0.0, None))


def main(chosen):
    out = chosen.out
    if chosen.smoke:
        chosen.densities, chosen.temperatures = [3.0], [2000.0]
        chosen.picoseconds, chosen.settling = 0.2, 0.01
    model = imported("superionic_fit.pth")
    for density in chosen.densities:
        for temperature in chosen.temperatures:
            simulate(model, density, temperature, chosen, out / f"{density:g}_{temperature:g}")
    states = {}
    for place in sorted(out.glob("*_*/run/final.extxyz")):
        density, temperature = map(float, place.parts[-3].split("_"))
        state = measured(open_run(place.parent))
        states[density, temperature] = state | {"kind": kind_of(state)}
    draw(out / "superionic_search.png", states)
    write_results(out, {f"{d:g} g/cm3, {t:g} K": state for (d, t), state in states.items()})


if __name__ == "__main__":
    parser = options(__doc__, "results/superionic_search")
    parser.add_argument("--densities", nargs="+", type=float, default=[2.5, 3.0, 3.5, 4.0])
    parser.add_argument(
        "--temperatures", nargs="+", type=float, default=[1500.0, 2000.0, 2500.0]
    )
    parser.add_argument("--picoseconds", type=float, default=0.7, help="length of a run")
    parser.add_argument("--settling", type=float, default=0.2, help="ps before it")
    run(main, parser)
