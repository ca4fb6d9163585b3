"""A solution of potassium fluoride in bulk: shells of the ions, charges, stability.

Run:     python experiments/potassium_fluoride.py --out results/potassium_fluoride
Needs:   seeds/pt_kf_aq_les.pth (published model), water-rpbe-d3 (JLES_DATA); one core,
         10 minutes.
Writes:  the run (`jles md`), results.json and potassium_fluoride.png in --out.
Expect:  first peaks K-O at 2.7 to 2.8 and F-O at 2.6 to 2.7 angstrom, with six to eight and
         four to six molecules (diffraction, Ohtaki and Radnai, Chem. Rev. 93, 1157 (1993)).

The model was trained for this solution on platinum (interface_platinum.py). Four of 64
molecules of water become ions. Hydrogen has a mass of 4 u, which changes no average over
positions and allows steps of 2 fs.
"""

from common import imported, run, write_results
from interface_platinum import (
    FIRST_SHELL,
    MODEL,
    cut,
    dissolved,
    dynamics,
    dynamics_options,
    of_elements,
    pushed_apart,
    shells,
    stability,
)
from interfaces import water_box

from jles.analysis.reports.rdf import radial_distributions
from jles.pictures import ACCENT, GUIDE, SECOND, new_figure, save_figure

PAIRS = 2
AWAY = 4.0
"""Between the ions at the start, angstrom."""
CURVES = {"O-K": ACCENT, "O-F": SECOND, "O-O": GUIDE}
"""Distributions in the picture, and their colours."""


def solution(pairs: int):
    """A cubic cell of water with ions in the places of molecules."""
    return pushed_apart(dissolved(cut(water_box().cell.lengths()), pairs, AWAY))


def draw(path, table: dict) -> None:
    """Radial distributions of water around the ions and around itself."""
    figure, (axis,) = new_figure(5.0, 3.4)
    for pair, color in CURVES.items():
        axis.plot(table["r (angstrom)"], table[f"g {pair} (1)"], color=color, label=pair)
    axis.set(xlabel="distance (Å)", ylabel="radial distribution", ylim=(0, None))
    axis.legend(frameon=False)
    save_figure(figure, path)


def main(chosen):
    model = imported(MODEL)
    built = solution(PAIRS)
    trajectory = dynamics(model, built, chosen)
    near, far = (
        radial_distributions([trajectory], r_max=r_max, width=0.05).columns
        for r_max in (FIRST_SHELL, 0.49 * built.cell.lengths().min())
    )
    symbols = built.get_chemical_symbols()
    results = {
        "atoms": {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))},
        "cell": built.cell.lengths().tolist(),
        "frames": len(trajectory.read("positions").values),
        "stability": stability(model, built, trajectory),
        "shells": shells(near, symbols),
        "elements": of_elements(trajectory, symbols),
    }
    draw(chosen.out / "potassium_fluoride.png", far)
    write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, dynamics_options(__doc__, "results/potassium_fluoride", 2.0, 10.0))
