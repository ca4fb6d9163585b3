"""Do energies and forces teach Born charges and polarizabilities, and do further moments help?

Run:     python experiments/electrical_response.py --out results/electrical_response
Needs:   water-rpbe-d3, batio3-allegro-pol, sio2-allegro-pol, dipeptides-spice, spice-bec,
         ionic-crystals-phonopy, 4g-hdnnp-n2p2 (JLES_DATA); one core, about five minutes a
         model and system.
Writes:  SYSTEM/RUNG/ (models), results.json, table.md and pictures in --out.
Expect:  water, Born charges: 0.022 e RMSE with charges, dipoles and induced dipoles
         (arXiv 2605.05746). Dipeptides, charges alone: dipole R2 0.987, quadrupole 0.910, Born
         charges 0.943 and 0.085 e (arXiv 2507.14302).

A rung of the ladder is a set of latent moments: charges q, dipoles u, quadrupoles Q, charge
softness kappa, polarizability alpha. Born charges and polarizabilities are never trained on.
`--redraw FILE` draws the picture of a table.md, or of README.md, without any training.
"""

import json
from functools import partial
from pathlib import Path

from common import once, options, run, trained, training_seconds, write_results
from ladder import RUNGS, SYSTEMS, score, settings

from jles.pictures import INK, PALETTE, new_figure, save_figure


def scores(out: Path) -> dict:
    """Scores of all models in a folder, by system and rung."""
    found = {}
    for system in SYSTEMS:
        paths = (out / system).glob("*/score.json")
        done = {path.parent.name: path for path in paths if _rung(path.parent.name) >= 0}
        names = sorted(done, key=lambda name: (_rung(name), name))
        found[system] = {name: json.loads(done[name].read_text()) for name in names}
    return {system: rungs for system, rungs in found.items() if rungs}


def _rung(name: str) -> int:
    """Number of the rung of a model, whatever the length of its training; -1 for none."""
    ours = (n for n, rung in enumerate(RUNGS) if name == rung or name.startswith(f"{rung} ("))
    return max(ours, default=-1)


def table(results: dict) -> str:
    """All scores as a Markdown table."""
    lines = [
        (
            "| system | rung | force RMSE (meV/Å) | Born charges RMSE (e) | R² | best factor "
            "| other |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for system, rungs in results.items():
        for rung, row in rungs.items():
            born = row.get("born_charges", {})
            other = [
                f"{name} R² {row[name]['r2']:.3f}"
                for name in ("dipole", "quadrupole", "polarization_change")
                if name in row
            ]
            if "latent_epsilon" in row:
                other.append(f"latent ε {row['latent_epsilon']:.3f}")
            if "polarizability" in row:
                other.append(f"polarizability RMSE {row['polarizability']['rmse']:.3g} e Å²/V")
            if "cation" in born:
                other.append(f"Z* {born['cation']:.3f} (DFT {born['cation_dft']:.3f})")
            numbers = [f"{row['force_rmse']:.1f}"]
            numbers += [
                f"{born[key]:.3f}" if key in born else ""
                for key in ("rmse", "r2", "best_factor")
            ]
            lines.append(f"| {system} | {rung} | {' | '.join(numbers)} | {'; '.join(other)} |")
    return "\n".join(lines) + "\n"


def read_table(file: Path) -> dict:
    """Force and Born charge RMSE of every rung in a table by `table`."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        system, rung, *cells = [cell.strip(" *") for cell in line.strip("|").split("|")] + [""]
        if system in SYSTEMS and rung in RUNGS:
            forces, born = float(cells[0]), float(cells[1])
            row = {"force_rmse": forces, "born_charges": {"rmse": born}}
            found.setdefault(system, {})[rung] = row
    return {system: found[system] for system in SYSTEMS if system in found}


def ladder_picture(path: Path, results: dict) -> None:
    """Force and Born charge errors relative to those of charges alone, one line a rung."""
    panels = (
        ("force RMSE relative to q", lambda row: row["force_rmse"], (0.5, 0.7, 1.0, 1.4)),
        (
            "Born charge RMSE relative to q",
            lambda row: row["born_charges"]["rmse"],
            (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
        ),
    )
    rungs = [name for name in RUNGS if name != "q"]
    systems = [name for name, rows in results.items() if "q" in rows]
    # Every system of a rung has a line of its own, so that no point hides another.
    line = {}
    for rung in rungs:
        present = [name for name in systems if rung in results[name]]
        for place, name in enumerate(present):
            line[rung, name] = 0.8 * ((place + 0.5) / len(present) - 0.5)
    figure, axes = new_figure(columns=2, width=4.8, height=6.2)
    for axis, (label, value, ticks) in zip(axes, panels, strict=True):
        axis.axvline(1.0, color=INK, linewidth=0.8, zorder=0.9)
        for number, system in enumerate(systems):
            rows = results[system]
            drawn = [rung for rung in rungs if rung in rows]
            axis.plot(
                [value(rows[rung]) / value(rows["q"]) for rung in drawn],
                [rungs.index(rung) + line[rung, system] for rung in drawn],
                "osD^vP*"[number],
                color=PALETTE[number],
                markersize=6.5,
                label=system,
            )
        for n in range(0, len(rungs), 2):
            axis.axhspan(n - 0.5, n + 0.5, color="#f3f3f3", zorder=0)
        axis.grid(visible=False, axis="y")
        axis.set_xscale("log")
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_yticks(range(len(rungs)), rungs)
        axis.set(xlabel=label, ylim=(len(rungs) - 0.5, -0.5))
    axes[1].tick_params(labelleft=False)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=7,
        frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1.2,
    )  # fmt: skip
    save_figure(figure, path)


def scored(place: Path, system: str, most: int | None) -> dict:
    """Errors of one model, and the time of its training."""
    return score(place, system, most) | {"seconds": training_seconds(place)}


def main(chosen):
    out, most = chosen.out, 2 if chosen.smoke else None
    if chosen.redraw is not None:
        ladder_picture(out / "ladder.png", read_table(chosen.redraw))
        return
    wanted = [(rung, system) for rung in chosen.rungs for system in chosen.systems]
    if chosen.smoke:
        wanted = [("q", "dipeptides"), ("q+u+alpha", "BaTiO3")]
    for rung, system in wanted:
        name = rung if chosen.longer == 1 else f"{rung} ({chosen.longer} x)"
        place = out / system / name
        if chosen.only_trained and not (place / "config.yaml").is_file():
            continue
        trained(settings(system, rung, chosen.longer), place, chosen.smoke)
        once(place / "score.json", partial(scored, place, system, most))
    results = scores(out)
    write_results(out, results)
    (out / "table.md").write_text(table(results), encoding="utf-8")
    ladder_picture(out / "ladder.png", results)


if __name__ == "__main__":
    parser = options(__doc__, "results/electrical_response")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=RUNGS)
    parser.add_argument("--longer", type=int, default=1, help="times the usual epochs")
    parser.add_argument("--only-trained", action="store_true", help="score, but train nothing")
    parser.add_argument("--redraw", type=Path, metavar="FILE", help="draw this table only")
    run(main, parser)
