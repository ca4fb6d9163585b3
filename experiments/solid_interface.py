"""Forces of an interface that no training frame contains, with and without latent charges.

Run:     python experiments/solid_interface.py --out results/solid_interface
Needs:   licl-gaf3 (JLES_DATA), seeds/licl_gaf3_{les,sr}_{0..3}.pth (published models); one
         core, ten minutes.
Writes:  the run, results.json and solid_interface.png in --out.
Expect:  force error of the mean of four models 37.9 meV/angstrom with latent charges, 120.2
         without (an earlier evaluation of the same file; models of npj Comput. Mater. 11, 80
         (2025)), and a committee that knows where it is wrong.

The models were trained on the two bulk solids.
"""

import ase.io
import numpy as np
from common import duration, imported, options, run, simulated, write_results

from jles.data.sets import data_set
from jles.pictures import PALETTE, new_figure, points, save_figure

MEMBERS = range(4)
KINDS = {"latent charges": "les", "short range": "sr"}
TIMESTEP = 1.0


def rmse(difference) -> float:
    """Root mean square, in thousandths of the unit."""
    return 1e3 * float(np.sqrt(np.mean(np.square(difference))))


def interface():
    """The frame, with the forces of DFT."""
    return ase.io.read(data_set("licl-gaf3/LiCl_GaF3_interface.xyz"))


def committee(kind: str):
    """The frame, and the forces of the members, (members, atoms, 3)."""
    frame = interface()
    names = [f"seeds/licl_gaf3_{kind}_{n}.pth" for n in MEMBERS]
    found = [imported(name).predict(frame).forces for name in names]
    return frame, np.array(found, float)


def errors(kind: str) -> tuple[dict, dict]:
    """Errors (meV/angstrom) of members, of their mean and by element, and the spread.

    The spread of an atom is the standard deviation of the members' forces, over members and
    components; its error is that of the mean.
    """
    frame, forces = committee(kind)
    mean = forces.mean(axis=0)
    difference = mean - frame.get_forces()
    symbols = np.array(frame.get_chemical_symbols())
    spread = np.sqrt(np.mean(np.var(forces, axis=0, ddof=1), axis=1))
    error = np.sqrt(np.mean(difference**2, axis=1))
    record = {
        "mean_of_four": rmse(difference),
        "members": [rmse(one - frame.get_forces()) for one in forces],
        "spread": rmse(spread),
        "correlation_of_spread_and_error": float(np.corrcoef(spread, error)[0, 1]),
        "largest_errors_found_by_spread": overlap(spread, error),
        "by_element": {
            symbol: rmse(difference[symbols == symbol]) for symbol in sorted(set(symbols))
        },
    }
    return record, {"symbols": symbols, "spread": 1e3 * spread, "error": 1e3 * error}


def overlap(spread, error, fraction: float = 0.1) -> float:
    """Share of the atoms with the largest errors that are among those of largest spread."""
    many = max(1, round(fraction * len(error)))
    worst, widest = np.argsort(error)[-many:], np.argsort(spread)[-many:]
    return len(set(worst) & set(widest)) / many


def short_run(kind: str, out, picoseconds: float) -> dict:
    """Root mean square displacements (angstrom) by element after NVE dynamics.

    The run starts from the interface with velocities of 300 K.
    """
    frame = interface()
    config = {
        **duration(picoseconds, TIMESTEP),
        "ensemble": {"kind": "nve"},
        "velocities": {"source": "draw", "temperature": 300.0},
        "seed": 0,
    }
    end = simulated(imported(f"seeds/licl_gaf3_{kind}_0.pth"), frame, config, out)
    moved = end.positions - frame.positions
    symbols = np.array(frame.get_chemical_symbols())
    return {
        symbol: float(np.sqrt(np.mean(np.sum(moved[symbols == symbol] ** 2, axis=1))))
        for symbol in sorted(set(symbols))
    }


def draw(path, pictured: dict) -> None:
    """Error of every atom against the spread of the committee."""
    figure, axes = new_figure(4.0, 3.6, columns=2)
    largest = max(np.max([one["error"], one["spread"]]) for one in pictured.values())
    for axis, (name, one) in zip(axes, pictured.items(), strict=True):
        for symbol, color in zip(sorted(set(one["symbols"])), PALETTE, strict=False):
            chosen = one["symbols"] == symbol
            points(axis, one["spread"][chosen], one["error"][chosen], color, label=symbol)
        axis.set(
            xlim=(0, 1.05 * largest),
            ylim=(0, 1.05 * largest),
            xlabel="spread of four models (meV/Å)",
            ylabel="force error of their mean (meV/Å)",
        )
        axis.set_title(name, fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    results, pictured = {}, {}
    for name, kind in KINDS.items():
        results[name], pictured[name] = errors(kind)
        length = 0.002 if chosen.smoke else 0.5
        displaced = short_run(kind, chosen.out / f"run_{kind}", length)
        results[name]["displacement_after_run_angstrom"] = displaced
    draw(chosen.out / "solid_interface.png", pictured)
    write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/solid_interface"))
