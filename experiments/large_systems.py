"""How do energy, forces and dynamics scale to 100,000 atoms with the particle mesh?

Run:     python experiments/large_systems.py --out results/large_systems
         [--parts size accuracy drift]
Needs:   water_v1.pth (published models), water-rpbe-d3; two quiet cores, 4 GiB; size 5
         minutes, accuracy 1 minute, drift 30 minutes.
Writes:  short runs, results.json and pictures in --out.
Expect:  size: at 98,304 atoms the long-range part takes at most 15 % of the time of energy and
         forces. accuracy: forces of the mesh within `accuracy` of the direct sum's, relative to
         their root mean square. drift: the mesh and the direct sum drift alike.

The 192-atom cell of the data set is repeated 2, 4 and 8 times along each direction, without
further equilibration: cost and accuracy do not need it.
"""

import resource
from pathlib import Path

import ase.io
import jax
import numpy as np
from common import duration, fastest, imported, options, run, simulated, write_results
from dynamics_quality import drift_of

from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.electrostatics.plan import describe_plan
from jles.models.potential import build_potential, without_long_range
from jles.observables.stress import energy_and_forces
from jles.pictures import ACCENT, INK, SECOND, new_figure, save_figure
from jles.predict.model import Model, summed_by

PARTS = ("size", "accuracy", "drift")
REPEATS = {192: 1, 1_536: 2, 12_288: 4, 98_304: 8}
ACCURACIES = (1e-3, 1e-4)
TIMESTEP = 0.5


def water(atoms: int):
    """The first frame of the data set, repeated."""
    frame = ase.io.read(data_set("water-rpbe-d3/ef.xyz"), index=0)
    repeat = REPEATS[atoms]
    return frame.repeat((repeat, repeat, repeat))


def summed(model: Model, **how) -> Model:
    """The same model with another method or accuracy of its electrostatic sum."""
    electrostatics = summed_by(model.config, how)
    config = model.config.replace(electrostatics=electrostatics)
    return Model(config, model.params, model.dtype, model.where)


def forces_of(potential):
    """Compiled energy and forces."""
    return jax.jit(
        lambda params, structure: energy_and_forces(
            lambda moved: potential.energy_fn(params, moved), structure
        )
    )


def size_of(model: Model, count: int, out: Path, steps: int) -> dict:
    """Time of energy and forces, with and without the long range, and of a step of dynamics."""
    atoms = water(count)
    structure = model.structure(atoms)
    rounds = 10 if count < 10_000 else 3
    whole = fastest(forces_of(model.potential), model.params, structure, rounds=rounds)
    bare = build_potential(without_long_range(model.config))
    short = fastest(forces_of(bare), model.params, structure, rounds=rounds)
    block = max(steps // 4, 1)
    config = {
        **duration(1e-3 * TIMESTEP * steps, TIMESTEP),
        "velocities": {"temperature": 300.0},
        "record": {"thermo": block, "positions": 0},
        "block": block,
    }
    simulated(model, atoms, config, out / f"run_{count}")
    # The speed in the log leaves out the first block, which compiles.
    speed = float((out / f"run_{count}" / "log.csv").read_text().split(",")[-1])
    step = TIMESTEP * 1e-6 * 86400.0 / speed
    return {
        "sum": describe_plan(structure.plan, model.config.electrostatics.accuracy),
        "energy_and_forces_s": whole,
        "microseconds_an_atom": 1e6 * whole / count,
        "long_range_share": 1.0 - short / whole,
        "md_step_s": step,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def accuracy_of(model: Model, count: int) -> dict:
    """Forces on the mesh against the direct sum, relative to their root mean square."""
    atoms = water(count)

    def forces(**how):
        summing = summed(model, **how)
        structure = summing.structure(atoms)
        return np.asarray(
            forces_of(summing.potential)(summing.params, structure)[1], np.float64
        )

    exact = forces(method="direct")
    long_range = exact - np.asarray(
        forces_of(build_potential(without_long_range(model.config)))(
            model.params, model.structure(atoms)
        )[1],
        np.float64,
    )
    found = {}
    for accuracy in ACCURACIES:
        error = np.sqrt(np.mean((forces(method="mesh", accuracy=accuracy) - exact) ** 2))
        found[f"{accuracy:g}"] = {
            "rms_error_ev_per_angstrom": float(error),
            "relative_to_long_range": float(error / np.sqrt(np.mean(long_range**2))),
            "relative_to_all_forces": float(error / np.sqrt(np.mean(exact**2))),
        }
    return found


def drift(model: Model, count: int, picoseconds: float, out: Path) -> dict:
    """Drift of the energy of the same start, summed directly and on the mesh."""
    atoms = water(count)
    cases = {"direct": {"method": "direct"}}
    cases |= {f"mesh {a:g}": {"method": "mesh", "accuracy": a} for a in ACCURACIES}
    config = {**duration(picoseconds, TIMESTEP), "velocities": {"temperature": 300.0}}
    config["record"] = {"thermo": 10, "positions": 0}
    found = {}
    for name, how in cases.items():
        place = out / name.replace(" ", "_")
        simulated(summed(model, **how), atoms, config, place)
        found[name] = drift_of(place)
        print(name, found[name], flush=True)
    return found


def draw(path: Path, sizes: dict) -> None:
    """Time an atom against the number of atoms."""
    counts = [int(count) for count in sizes]
    rows = list(sizes.values())
    picture, (axis,) = new_figure(6.4, 4.0)
    times = np.array([row["microseconds_an_atom"] for row in rows])
    shares = np.array([row["long_range_share"] for row in rows])
    axis.loglog(counts, times, "o-", label="energy and forces")
    axis.loglog(counts, times * np.clip(shares, 1e-3, 1.0), "s--", label="long range")
    axis.set_xlabel("atoms")
    axis.set_ylabel("time per atom (µs)")
    axis.legend(frameon=False)
    save_figure(picture, path)


def draw_drift(path: Path, names, out: Path) -> None:
    """The conserved energy of every run, less its value at the start."""
    picture, (axis,) = new_figure(6.4, 3.6)
    for name, color in zip(names, (INK, SECOND, ACCENT), strict=True):
        trajectory = open_run(out / name.replace(" ", "_"))
        conserved = trajectory.read("thermo", "conserved")
        values = 1e3 * (conserved.values - conserved.values[0]) / len(trajectory.numbers)
        times = 1e-3 * conserved.interval * np.arange(len(values))
        axis.plot(times, values, linewidth=0.8, color=color, label=name)
    axis.set_xlabel("time (ps)")
    axis.set_ylabel("conserved energy (meV/atom)")
    axis.legend(frameon=False)
    save_figure(picture, path)


def main(chosen) -> None:
    out, smoke = chosen.out, chosen.smoke
    model = summed(imported("water_v1.pth"), method="auto", accuracy=1e-4)
    results = {}
    if "size" in chosen.parts:
        counts, steps = ((192,), 4) if smoke else (tuple(REPEATS), 20)
        results["size"] = {str(count): size_of(model, count, out, steps) for count in counts}
        draw(out / "large_systems.png", results["size"])
    if "accuracy" in chosen.parts:
        results["accuracy"] = accuracy_of(model, 192 if smoke else 12_288)
    if "drift" in chosen.parts:
        count, length = (192, 0.005) if smoke else (1_536, 2.0)
        results["drift"] = drift(model, count, length, out)
        draw_drift(out / "large_systems_drift.png", results["drift"], out)
    write_results(out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/large_systems")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    run(main, parser)
