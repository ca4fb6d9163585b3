"""Does a field move the 180-degree walls of PbTiO3 at 300 K before it reverses a whole crystal?

Run:     python experiments/moving_wall.py --out results/moving_wall
Needs:   pbtio3_phase_4.pth (published models); one core, about half an hour.
Writes:  the runs (`jles md`); moving.png, results.json in --out.
Expect:  walls that move in a lower field than the 6.3 MV/cm that reverse a single domain at 8
         MV/cm per ps (lead_titanate.py).

A crystal with two walls and one without, in the cell of experiment at 295 K, are brought to 300
K; then a field along z rises at a constant rate. The polarization of the planes perpendicular
to x tells which share of the volume along -z has switched.
"""

import numpy as np
from common import duration, imported, options, run, simulated, write_results
from domain_wall import MEGAVOLT, PUSH, Layers, relaxed, widened, with_walls
from lead_titanate import EPSILON_INFINITY, ROOM, TIMESTEP, running_mean, tetragonal

from jles.analysis.estimators.units import POLARIZATION
from jles.analysis.moment import at_steps, polarization_path
from jles.analysis.run import Run, open_run
from jles.models.config import ScreeningConfig
from jles.pictures import GUIDE, PALETTE, new_figure, save_figure

SHARES = (0.25, 0.5, 0.9)


def make_ramps(model, chosen) -> None:
    """A crystal with two walls and one without, at 300 K in a field that rises along z."""
    # A smoke run is ten times shorter; the integral of the current needs 64 frames.
    scale = 0.1 if chosen.smoke else 1.0
    often = 1 if chosen.smoke else 10
    held = {"kind": "nose-hoover", "temperature": ROOM, "thermostat_time": 100.0}
    calculator = model.calculator()

    def at_rest(atoms, name):
        return relaxed(calculator, atoms, chosen.out / f"{name}.extxyz", chosen.steps)

    bulk = at_rest(tetragonal(), "bulk_experiment")
    walls = with_walls(bulk, chosen.layers, "Pb", PUSH)
    walls = at_rest(walls, f"experiment_{chosen.layers}_Pb_pushed")
    # The single domain is polarized along -z.
    starts = {
        "walls": widened(walls, 1, chosen.across),
        "no_walls": widened(bulk, chosen.layers // 2, chosen.across),
    }
    ramp = {
        "kind": "ramp",
        "amplitude": [0.0, 0.0, chosen.amplitude],
        "unit": "V/angstrom",
        "end": 1e3 * scale * chosen.ramp,
        "work": False,
    }
    for name, start in starts.items():
        record = {"thermo": often, "positions": often}
        config = {"ensemble": held, "record": record, "checkpoint": 500}
        settle = duration(scale * chosen.settle, TIMESTEP) | config
        warm = simulated(model, start, settle, chosen.out / f"settle_{name}")
        config["record"] = record | {"current": often}
        config |= duration(scale * chosen.ramp, TIMESTEP) | {"field": ramp}
        simulated(model, warm, config, chosen.out / f"ramp_{name}")


def watched(model, trajectory: Run, across: int) -> dict:
    """Field (MV/cm) and polarization along z (microC/cm^2) of a run against its time (ps)."""
    record = trajectory.read("positions")
    cell = trajectory.read("thermo", "cell").values[0]
    layers = len(trajectory.numbers) // (5 * across**2)
    planes = Layers(model, cell / np.array([layers, across, across])[:, None], layers, across)
    profile = planes.polarization(record.values)[..., 1]
    path = polarization_path(trajectory).record
    current = POLARIZATION * at_steps(path, record.steps)[:, 2] / np.linalg.det(cell)
    field = at_steps(trajectory.read("thermo", "field"), record.steps, "field")[:, 2]
    time = 1e-3 * trajectory.timestep * record.steps
    return {
        "time": time,
        "rate": float((field[-1] - field[0]) / MEGAVOLT / time[-1]),
        "field": field / MEGAVOLT,
        "profile": profile,
        "mean": profile.mean(axis=1),
        "from current": profile[0].mean() + current - current[0],
    }


def smoothed(run: dict, name: str) -> np.ndarray:
    """Running mean of a result of `watched`."""
    return running_mean(run[name], 1e3 * (run["time"][1] - run["time"][0]))


def switching(run: dict) -> dict:
    """Fields (MV/cm) at which a share of the antiparallel planes has switched, None if never.

    The planes are those whose polarization points against the field at the start. They have
    switched when it points along the field. Polarization that the field induces without a
    change of sign does not count.
    """
    planes, field = smoothed(run, "profile"), smoothed(run, "field")
    share = np.mean(planes[:, planes[0] < 0.0] > 0.0, axis=1)
    first = {value: np.flatnonzero(share > value) for value in SHARES}
    return {str(v): float(field[at[0]]) if len(at) else None for v, at in first.items()}


def draw_ramps(runs: dict, file) -> None:
    """Polarization of the planes against time; mean polarization against the field."""
    figure, (left, right) = new_figure(5.0, 3.8, columns=2)
    figure.get_layout_engine().set(wspace=0.08)
    run = runs["walls"]
    planes = 0.5 * np.arange(run["profile"].shape[1])
    largest = np.abs(run["profile"]).max()
    image = left.pcolormesh(
        run["time"], planes, run["profile"].T, cmap="RdBu_r", vmin=-largest, vmax=largest,
        rasterized=True,
    )  # fmt: skip
    left.grid(False)
    left.set(xlabel="time (ps)", ylabel="x (edges of a cell)")
    figure.colorbar(image, ax=left, label="polarization (µC/cm²)")
    above = left.secondary_xaxis(
        "top",
        functions=(lambda t: t * run["rate"], lambda f: f / run["rate"]),
    )
    above.set_xlabel("field (MV/cm)")
    for (name, each), color in zip(runs.items(), PALETTE, strict=False):
        field = smoothed(each, "field")
        right.plot(field, smoothed(each, "mean"), color=color, label=name.replace("_", " "))
    right.axhline(0.0, color=GUIDE, linewidth=0.8, zorder=0.9)
    right.set(xlabel="field (MV/cm)", ylabel="mean polarization (µC/cm²)")
    right.legend(frameon=False)
    save_figure(figure, file)


def numbers(run: dict) -> dict:
    """What a run in a rising field says."""
    return {
        "switched at": switching(run),
        "start and end": [float(smoothed(run, "mean")[at]) for at in (0, -1)],
        "end from the current": float(smoothed(run, "from current")[-1]),
        "rate": run["rate"],
    }


def main(chosen):
    if chosen.smoke:
        chosen.layers, chosen.across, chosen.steps = 4, 1, 3
    model = imported("pbtio3_phase_4.pth", screening=ScreeningConfig(EPSILON_INFINITY, "Ti"))
    make_ramps(model, chosen)
    runs = {
        name: watched(model, open_run(chosen.out / f"ramp_{name}"), chosen.across)
        for name in ("walls", "no_walls")
    }
    draw_ramps(runs, chosen.out / "moving.png")
    write_results(chosen.out, {name: numbers(run) for name, run in runs.items()})


if __name__ == "__main__":
    parser = options(__doc__, "results/moving_wall")
    parser.add_argument("--layers", type=int, default=8, help="cells along x")
    parser.add_argument("--across", type=int, default=2, help="cells along y and z")
    parser.add_argument("--steps", type=int, default=300, help="at most, of a minimisation")
    parser.add_argument("--settle", type=float, default=0.6, help="ps at 300 K, no field")
    parser.add_argument("--ramp", type=float, default=2.0, help="ps from no field to the last")
    parser.add_argument("--amplitude", type=float, default=0.08, help="last field, V/angstrom")
    run(main, parser)
