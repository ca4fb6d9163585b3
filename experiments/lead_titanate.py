"""PbTiO3 from a published model: heating, cooling, and switching by a cycled field.

Run:     python experiments/lead_titanate.py --out results/lead_titanate
Needs:   pbtio3_phase_4.pth (published models); one core, about three hours.
Writes:  the runs (`jles md`); order, hysteresis and born_charges, with --parts pressed_cycle
         also pressed_hysteresis and butterfly, each as .csv and .png; results.json in --out.
Expect:  tetragonal and polar at 100 K (experiment at 295 K: c/a 1.065, 75 microC/cm^2, Nelmes
         and Kuhs, Solid State Commun. 54, 721 (1985); Gavrilyachenko et al., Sov. Phys. Solid
         State 12, 1203 (1970)), cubic and not polar above 763 K; Born charges of Pb, Ti, O
         along and across the Ti-O bond near 3.90, 7.06, -5.83, -2.56 e, epsilon_infinity 8.24
         (Zhong, King-Smith, Vanderbilt, Phys. Rev. Lett. 72, 3618 (1994)). A crystal without
         defects or walls switches far above the coercive fields of experiment, the more so in a
         cell of a few nm and at rates of kV/cm per fs.
"""

from functools import partial
from itertools import pairwise

import numpy as np
from ase import Atoms
from common import duration, imported, options, run, simulated, write_results
from numpy.lib.stride_tricks import sliding_window_view

from jles.analysis.conditions import cells
from jles.analysis.estimators.hysteresis import turning_points
from jles.analysis.estimators.order import tetragonality
from jles.analysis.moment import at_steps, polarization_path, relative_to
from jles.analysis.reports.hysteresis import hysteresis
from jles.analysis.reports.order import order_parameter
from jles.analysis.reports.outcome import Outcome, write_outcome
from jles.analysis.run import Run, open_run
from jles.models.config import ScreeningConfig
from jles.observables.polarization import polarization_change
from jles.pictures import PALETTE, new_figure

TIMESTEP = 2.0
COLD, ROOM, HOT = 100.0, 300.0, 1100.0
EPSILON_INFINITY = 8.24
PRESSURE = 2.8
"""GPa; the offset of the published dynamics, since stresses were not trained."""


def tetragonal() -> Atoms:
    """The cell of Nelmes and Kuhs (1985) at 295 K, polarized along -z."""
    places = [
        [0, 0, 0],
        [0.5, 0.5, 0.5377],
        [0.5, 0.5, 0.1118],
        [0.5, 0, 0.6174],
        [0, 0.5, 0.6174],
    ]
    return Atoms("PbTiO3", scaled_positions=places, cell=[3.902, 3.902, 4.156], pbc=True)


def cubic(cell) -> Atoms:
    """The sites of the cubic crystal in a cell, in the order of `tetragonal`."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms("PbTiO3", scaled_positions=sites, cell=cell, pbc=True)


def pressed(temperature: float, end: float | None = None) -> dict:
    """An NPT ensemble at the published pressure, with a temperature that goes to `end`."""
    return {
        "kind": "npt",
        "temperature": temperature,
        "temperature_end": end,
        "pressure": PRESSURE,
        "pressure_unit": "GPa",
        "thermostat_time": 100.0,
        "barostat_time": 500.0,
    }


CYCLES = {
    "cycle": {"kind": "nose-hoover", "temperature": ROOM, "thermostat_time": 100.0},
    "pressed_cycle": pressed(ROOM),
}
"""Ensembles of the runs in a cycled field. With message passing, forces and stress in a field
take five times as long as the forces alone, so only the fixed cell is a default."""
SMOOTH = 100.0
"""fs over which cells and polarizations in a field are averaged."""


def from_symmetric(model, crystal: Atoms, trajectory: Run, frame: int) -> np.ndarray:
    """Polarization of a frame minus that of the cubic sites in the same cell, e angstrom."""
    count = round((len(crystal) / 5) ** (1 / 3))
    sites = cubic(np.eye(3)).repeat(count)
    record = trajectory.read("positions")
    cell = at_steps(cells(trajectory), record.steps)[frame]

    def born(positions):
        atoms = Atoms(crystal.symbols, positions, cell=cell, pbc=True)
        return model.predict(atoms, want=("born_charges",), sum_rule=True).born_charges

    return polarization_change(born, sites.positions / count @ cell, record.values[frame])


def changes(trajectory: Run, zero, first, last) -> dict[str, list[float]]:
    """Change of polarization over a run: integrated current, and difference of its ends."""
    ends = trajectory.read("positions").steps[[0, -1]]
    path = relative_to(trajectory, polarization_path(trajectory).record, zero)
    start, end = at_steps(path, ends)
    integrated = end - start
    return {"integrated": integrated.tolist(), "direct": (last - first).tolist()}


def born_charges(runs: list[Run], stretches: int) -> Outcome:
    """Mean diagonal Born charges of each sort of atom against the temperature of the runs."""
    rows = []
    for number, trajectory in enumerate(runs):
        record = trajectory.read("born_charges")
        near = at_steps(trajectory.read("thermo", "temperature"), record.steps)
        for part in np.array_split(np.arange(len(record.steps)), stretches):
            means = _by_sort(trajectory.numbers, record.values[part])
            rows.append((number, near[part].mean(), *means))
    table = np.array(rows)
    names = ["run", "temperature (K)", *SORTS]
    columns = dict(zip(names, table.T, strict=True))
    return Outcome(
        "born_charges", columns, [], _draw(columns, [each.path.name for each in runs])
    )


SORTS = {"Pb": 3.90, "Ti": 7.06, "O along Ti-O": -5.83, "O across Ti-O": -2.56}
"""Kinds of diagonal elements and their values in the cubic crystal (Zhong et al.), e."""


def _by_sort(numbers, charges):
    """Mean diagonal elements of Pb and Ti; the lowest of O and the mean of its others, e."""
    diagonal = np.diagonal(charges, axis1=-2, axis2=-1)
    oxygen = np.sort(diagonal[:, numbers == 8], axis=-1)
    means = [diagonal[:, numbers == n].mean() for n in (82, 22)]
    return [*means, oxygen[..., 0].mean(), oxygen[..., 1:].mean()]


def _draw(columns, names):
    """Born charges against temperature; dashed, those of the cubic crystal."""
    figure, (axis,) = new_figure(5.2, 3.8)
    for color, (sort, expected) in zip(PALETTE, SORTS.items(), strict=False):
        axis.axhline(expected, color=color, linewidth=0.8, linestyle="--", zorder=0.9)
        for number, marker in zip(range(len(names)), "o^s", strict=False):
            own = columns["run"] == number
            axis.plot(
                columns["temperature (K)"][own], columns[sort][own], marker, color=color,
                markersize=3.5, label=f"{sort}, {names[number]}",
            )  # fmt: skip
    axis.set(xlabel="temperature (K)", ylabel="mean diagonal Born charge (e)")
    axis.set_title("dashed: cubic PbTiO₃, Zhong et al. 1994 (LDA)", fontsize=8)
    axis.legend(frameon=False, fontsize=7, ncols=2)
    return figure


def make_runs(model, crystal: Atoms, chosen) -> None:
    """The runs that `--parts` names, as far as they are not finished."""
    # A smoke run has all lengths, also those between records, divided by 50.
    scale = 0.02 if chosen.smoke else 1.0
    ps, often = round(scale * 1e3 / TIMESTEP), 1 if chosen.smoke else 10
    record = {"thermo": often, "current": often, "polarization": ps, "positions": ps}

    def make(start, name, picoseconds, ensemble, **more):
        config = {**duration(scale * picoseconds, TIMESTEP), "record": record}
        config |= {"ensemble": ensemble, **more}
        return simulated(model, start, config, chosen.out / name)

    cold = make(crystal, "settle_cold", 2.0, pressed(COLD))
    if "ramps" in chosen.parts:
        watched = {"record": record | {"born_charges": ps // 2}}
        hot = make(cold, "heating", chosen.ramp, pressed(COLD, HOT), **watched)
        if not chosen.smoke:
            hot = make(hot, "settle_hot", 1.0, pressed(HOT))
        make(hot, "cooling", chosen.ramp, pressed(HOT, COLD), **watched)
    cycles = [name for name in CYCLES if name in chosen.parts]
    if cycles:
        warm = cold
        if not chosen.smoke:
            warm = make(cold, "settle_room", 2.0, pressed(COLD, ROOM))
        cycle = {
            "kind": "cycle",
            "amplitude": [0.0, 0.0, chosen.amplitude],
            "unit": "V/angstrom",
            "period": 1e3 * scale * chosen.period,
            "work": False,
        }
        for name in cycles:
            make(warm, name, 1.25 * chosen.period, CYCLES[name], field=cycle)


def running_mean(values, interval: float) -> np.ndarray:
    """Mean over `SMOOTH` of values recorded every `interval` (fs), along the first axis."""
    width = max(1, round(SMOOTH / interval))
    return sliding_window_view(values, width, axis=0).mean(axis=-1)


def butterfly(trajectory: Run) -> Outcome:
    """c/a and volume of a crystal in a cycled field, as running means."""
    near = trajectory.read("thermo", "field")
    smooth = partial(running_mean, interval=near.interval)
    cell = at_steps(cells(trajectory), near.steps)
    field, ratio = smooth(near.values[:, 2]), smooth(tetragonality(cell))
    volume = smooth(np.linalg.det(cell)) / (len(trajectory.numbers) / 5)
    columns = {
        "time (ps)": 1e-3 * trajectory.timestep * smooth(near.steps),
        "field (V/angstrom)": field,
        "c/a": ratio,
        "volume of a cell (angstrom^3)": volume,
    }
    figure, (axis,) = new_figure(5.2, 3.8)
    for number, (first, last) in enumerate(pairwise(turning_points(field))):
        part = slice(first, last + 1)
        axis.plot(
            100.0 * field[part], ratio[part], color=PALETTE[number], linewidth=1.2,
            label=f"{columns['time (ps)'][first]:.1f} ps on",
        )  # fmt: skip
    axis.set(xlabel="field along c (MV/cm)", ylabel="c/a")
    axis.legend(frameon=False, fontsize=8)
    lines = [f"c/a: {ratio.min():.3f} to {ratio.max():.3f}", _at_zero(field, ratio)]
    return Outcome("butterfly", columns, lines, figure)


def _at_zero(field, ratio) -> str:
    """c/a at the records nearest to where the field changes its sign."""
    before = np.flatnonzero((field[1:] > 0) != (field[:-1] > 0))
    nearest = before + (np.abs(field[before + 1]) < np.abs(field[before]))
    return "c/a without field: " + ", ".join(f"{ratio[at]:.3f}" for at in nearest)


def main(chosen):
    out = chosen.out
    if chosen.smoke:
        chosen.cells, chosen.ramp, chosen.period = 1, 8.0, 8.0
    model = imported("pbtio3_phase_4.pth", screening=ScreeningConfig(EPSILON_INFINITY, "Ti"))
    crystal = tetragonal() * ((chosen.cells,) * 3)
    make_runs(model, crystal, chosen)

    found, compared = [], []
    if (out / "cooling" / "final.extxyz").is_file():
        ramps = [open_run(out / name) for name in ("heating", "cooling")]
        ends = [[from_symmetric(model, crystal, ramp, at) for at in (0, -1)] for ramp in ramps]
        zeros = [
            ramp.read("polarization").values[0] - first
            for ramp, (first, _) in zip(ramps, ends, strict=True)
        ]
        compared = [
            changes(ramp, zero, *pair)
            for ramp, zero, pair in zip(ramps, zeros, ends, strict=True)
        ]
        found += [
            order_parameter(ramps, count=16, zero=zeros),
            born_charges(ramps, stretches=10),
        ]
    for name in CYCLES:
        if (out / name / "final.extxyz").is_file():
            loop = hysteresis([open_run(out / name)], temperature=ROOM)
            found.append(loop._replace(name=name.replace("cycle", "hysteresis")))
            if name == "pressed_cycle":
                found.append(butterfly(open_run(out / name)))
    for outcome in found:
        write_outcome(outcome, out)
        print("\n".join(outcome.lines))
    words = {outcome.name: outcome.lines for outcome in found}
    write_results(out, words | {"change over a run": compared})


if __name__ == "__main__":
    parser = options(__doc__, "results/lead_titanate")
    parts = ["ramps", *CYCLES]
    parser.add_argument("--cells", type=int, default=4, help="along each direction")
    parser.add_argument("--ramp", type=float, default=20.0, help="ps from cold to hot")
    parser.add_argument("--period", type=float, default=16.0, help="ps of a cycle of the field")
    parser.add_argument(
        "--amplitude", type=float, default=0.08, help="of the field, V/angstrom"
    )
    parser.add_argument(
        "--parts", nargs="+", default=parts[:2], choices=parts, help="runs to make"
    )
    run(main, parser)
