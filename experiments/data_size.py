"""How do the errors of a training fall with the number of frames?

Run:     python experiments/data_size.py --out results/data_size [--steps N ...]
Needs:   water_v1.pth (published models); one core, twelve minutes.
Writes:  runs/, train-N.xyz, test.xyz, models, results.json, table.md, data_size.png in --out.
Expect:  more frames help until the number of steps limits the training.

The published model water_v1 makes and labels frames of eight molecules in a periodic cell. The
50 frames are among the 500, and these among the 5,000. The settings are those of
`jles init-config cace`, with as many epochs as make the steps. All models are judged on 200
frames of another trajectory. A finished part is not computed again.
"""

import json
import time
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from common import (
    born_errors,
    duration,
    error_of,
    imported,
    once,
    options,
    run,
    settled,
    trained,
    write_results,
)
from distillation import molecules

from jles.analysis.run import open_run
from jles.cache_folder import use_compilation_cache
from jles.data.frames import read_frames
from jles.data.survey import survey_frames
from jles.distill.config import StudentConfig
from jles.distill.student import student_values
from jles.models.config import ScreeningConfig
from jles.pictures import PALETTE, new_figure, save_figure
from jles.predict.model import Model, load_model

SCREENING = ScreeningConfig(1.78, "H")
SPACING = 3.1
"""Of the molecules at the start, angstrom; the cell holds two of them along each side."""
KELVIN = {"train": (300.0, 450.0), "test": (375.0,)}
TIMESTEP = 0.5
INTERVAL, DROPPED = 5, 100
"""Steps between frames, and frames left out at the start of a run."""
SIZES = (50, 500, 5000)
BORN_FRAMES = 25


def cell_of_water(seed: int) -> Atoms:
    """Eight molecules of random orientation in a periodic cell."""
    atoms = molecules(SPACING, seed)
    atoms.set_cell([2.0 * SPACING] * 3)
    atoms.pbc = True
    return atoms


def frames_of(teacher: Model, seed: int, kelvin: float, frames: int, out: Path) -> list[Atoms]:
    """Frames of a run with the teacher, with its energies and forces."""
    start = cell_of_water(seed)
    length = duration(1e-3 * TIMESTEP * INTERVAL * (frames + DROPPED), TIMESTEP)
    settled(teacher, start, length, kelvin, out, record={"positions": INTERVAL})
    found = []
    for positions in open_run(out).read("positions").values[-frames:]:
        atoms = start.copy()
        atoms.positions = positions
        found.append(atoms)
    for atoms, label in zip(found, teacher.predict(found), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=label.forces)
    return found


def write_frames(teacher: Model, sizes, tests: int, out: Path) -> None:
    """Files of training frames, each the beginning of the next, and of test frames."""
    if (out / "test.xyz").is_file():
        return
    runs, seed = {}, 0
    for name, frames in {"train": max(sizes), "test": tests}.items():
        each, runs[name] = max(1, round(frames / len(KELVIN[name]))), []
        for kelvin in KELVIN[name]:
            place = out / "runs" / f"{kelvin:.0f} K"
            runs[name] += frames_of(teacher, seed, kelvin, each, place)
            seed += 1
    order = np.random.default_rng(0).permutation(len(runs["train"]))
    for size in sizes:
        ase.io.write(out / f"train-{size}.xyz", [runs["train"][n] for n in order[:size]])
    ase.io.write(out / "test.xyz", runs["test"])


def settings(file: Path, frames: int, steps: int) -> dict:
    """The file of `jles init-config cace`, with as many epochs as make the steps."""
    student, survey = StudentConfig("cace"), survey_frames(read_frames(file))
    values = student_values(student, str(file), survey)
    learnt = frames - round(frames * values["data"]["valid_fraction"])
    epochs = max(2, round(steps * values["batch_size"] / learnt))
    every = max(1, epochs // 5)
    changes = {
        "data": {"max_buckets": 1},
        "epochs": epochs,
        "loss": {"energy": {0: 1.0, max(1, round(0.9 * epochs)): 10.0}},
        "validate_every": every,
        "checkpoint_every": every,
    }
    return student_values(StudentConfig("cace", settings=changes), str(file), survey)


def score(model: Model, teacher: Model, frames: list[Atoms]) -> dict:
    """Errors against the teacher: meV/atom, meV/angstrom, e."""
    outs = model.predict(frames)
    pairs = list(zip(frames, outs, strict=True))
    energies = [((o.energy - a.get_potential_energy()) / len(a)) for a, o in pairs]
    few = frames[:: max(1, len(frames) // BORN_FRAMES)]
    born = [
        np.concatenate([o.born_charges for o in one.predict(few, ("born_charges",))])
        for one in (teacher, model)
    ]
    numbers = np.concatenate([atoms.numbers for atoms in few])
    return {
        "energy_rmse": 1e3 * float(np.sqrt(np.mean(np.square(energies)))),
        "force_rmse": 1e3 * error_of([(a.get_forces(), o.forces) for a, o in pairs])["rmse"],
        "born_charges": born_errors(numbers, *born),
    }


def train(frames: int, steps: int, teacher: Model, chosen, place: Path) -> dict:
    """Trains one model and computes its errors."""
    values = settings(chosen.out / f"train-{frames}.xyz", frames, steps)
    begin = time.process_time()
    trained(values, place / "model", chosen.smoke)
    record = {"frames": frames, "steps": steps, "epochs": values["epochs"]}
    record["processor_seconds"] = time.process_time() - begin
    model = load_model(place / "model", screening=SCREENING)
    return record | score(model, teacher, ase.io.read(chosen.out / "test.xyz", ":"))


def table(rows: list[dict]) -> str:
    """All models in Markdown."""
    lines = [
        (
            "| frames | steps | epochs | processor time (s) | force RMSE (meV/Å) "
            "| energy RMSE (meV/atom) | Born charges RMSE (e) |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['frames']} | {row['steps']} | {row['epochs']} "
            f"| {row['processor_seconds']:.0f} | {row['force_rmse']:.1f} "
            f"| {row['energy_rmse']:.2f} | {row['born_charges']['rmse']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def draw(path: Path, rows: list[dict]) -> None:
    """Errors of forces and Born charges against the number of frames."""
    figure, axes = new_figure(4.0, 3.6, columns=2)
    for number, steps in enumerate(sorted({row["steps"] for row in rows})):
        mine = [row for row in rows if row["steps"] == steps]
        frames = [row["frames"] for row in mine]
        errors = (
            [row["force_rmse"] for row in mine],
            [row["born_charges"]["rmse"] for row in mine],
        )
        for axis, values in zip(axes, errors, strict=True):
            axis.plot(frames, values, "o-", color=PALETTE[number], label=f"{steps} steps")
    for axis, label in zip(axes, ("force RMSE (meV/Å)", "Born charges RMSE (e)"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="training frames", ylabel=label)
        axis.legend(frameon=False)
    save_figure(figure, path)


def main(chosen):
    use_compilation_cache()
    chosen.out.mkdir(parents=True, exist_ok=True)
    teacher = imported("water_v1.pth", screening=SCREENING)
    sizes, tests = ((4, 8), 4) if chosen.smoke else (SIZES, 200)
    write_frames(teacher, sizes, tests, chosen.out)
    for steps in [4] if chosen.smoke else chosen.steps:
        for frames in sizes:
            place = chosen.out / f"{frames} frames, {steps} steps"
            one = partial(train, frames, steps, teacher, chosen, place)
            once(place / "score.json", one)
    rows = [json.loads(file.read_text()) for file in chosen.out.glob("* steps/score.json")]
    rows.sort(key=lambda row: (row["steps"], row["frames"]))
    write_results(chosen.out, {"models": rows})
    (chosen.out / "table.md").write_text(table(rows), encoding="utf-8")
    draw(chosen.out / "data_size.png", rows)


if __name__ == "__main__":
    parser = options(__doc__, "results/data_size")
    parser.add_argument("--steps", nargs="+", type=int, default=[2000, 8000])
    run(main, parser)
