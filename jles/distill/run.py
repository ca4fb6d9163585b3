"""The stages of a distillation: sample, pick, label, train, report.

Every stage leaves files that are written whole. A distillation that was killed continues after
the last of them and ends with the same frames and the same student.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from jles.config import to_dict
from jles.data.frames import Frame, digests, frame_from_atoms, read_atoms
from jles.data.shards.build import digest
from jles.data.splits import split_places
from jles.distill.config import CommitteePick, DistillConfig
from jles.distill.descriptors import describe_frames
from jles.distill.labels import as_sampled, inputs_digest, label_names, labelled
from jles.distill.pick import (
    check_enough,
    farthest_points,
    spaced,
    split_pool,
    uncertain_and_far,
)
from jles.distill.place import Place, claim
from jles.distill.report import RESPONSE_FRAMES, report
from jles.distill.sample import Start, frames_of_runs, plan_runs, sample, write_frames
from jles.distill.student import (
    expected_survey,
    student_config,
    student_values,
    trained,
    untrained,
    with_epochs,
)
from jles.distill.teacher import Teacher, load_teacher, teacher_digest
from jles.errors import InputError
from jles.files import write_atomically
from jles.follow import follow
from jles.lock import only_writer
from jles.predict.committee import Committee
from jles.predict.model import load_model
from jles.train.config import TrainConfig
from jles.train.training_frames import judging_labels, needed_labels


def distill(
    teacher: str,
    starts: Sequence[str],
    config: DistillConfig,
    out: str | os.PathLike,
    resume: bool = False,
) -> dict:
    """Trains a student on frames that a teacher samples and labels; returns the report.

    Args:
        teacher: a model directory or the name of an ASE calculator, see `load_teacher`.
        starts: files of structures to sample from; all frames of each.
        config: the stages.
        out: directory of the distillation.
        resume: continue the one in `out`.

    Raises:
        InputError: a mistake in the files or keys, a teacher that fails or has no forces, an
            exploding run, too few frames, an occupied directory.
    """
    found = load_teacher(teacher, config.teacher)
    frames, checked = read_starts(starts)
    _Students(config, checked).check(label_names(found, checked, config.label_stress))
    split(config.pick, frames_of_runs(frames, config.sample))
    labelled(found, frames[0].atoms, frames[0].source)
    training = config.student.training_file
    record = {
        "teacher": teacher,
        "teacher_digest": teacher_digest(teacher),
        "starts": list(map(str, starts)),
        "structures": digests(checked),
        "config": to_dict(config),
        "inputs_digest": inputs_digest([start.atoms for start in frames]),
        "training_file_digest": training and digest(Path(training)),
    }
    with only_writer(out):
        place = Place(Path(out))
        claim(place, record, resume)
        return _Distillation(found, frames, checked, config, place).run() | {"out": str(out)}


def read_starts(files: Sequence[str]) -> tuple[list[Start], list[Frame]]:
    """All structures of the files, with constraints if the format keeps them.

    Raises:
        InputError: as `read_frames`.
    """
    starts, checked = [], []
    for file in files:
        for n, atoms in enumerate(read_atoms(file)):
            source = f"{file}, frame {n}"
            checked.append(frame_from_atoms(atoms, source=source))
            starts.append(Start(atoms, source))
    if not starts:
        raise InputError(f"{', '.join(map(str, files))}: contains no frames")
    return starts, checked


def split(pick, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the frames to learn from and to test with, for runs of these sizes.

    Raises:
        InputError: fewer than `pick` asks for.
    """
    learn, test = split_pool(sizes, pick.held_out)
    check_enough(pick.frames, len(learn), "pick.frames")
    check_enough(pick.test_frames, len(test), "pick.test_frames")
    return learn, test


class _Students:
    """Training files of students, for data sets like the starts."""

    def __init__(self, config: DistillConfig, starts: Sequence[Frame]):
        self._config, self._starts = config, starts

    def training(self, file: str, frames: int) -> TrainConfig:
        """The training file for a data set of this many frames."""
        survey = expected_survey(self._starts, frames)
        student = self._config.student
        return student_config(student_values(student, file, survey), student)

    def check(self, labels: Sequence[str]) -> None:
        """Finds mistakes before hours are spent on sampling.

        Args:
            labels: that the training frames will have.
        """
        student, pick = self._config.student, self._config.pick
        counts = [("student.sizes", count) for count in student.sizes]
        if isinstance(pick, CommitteePick):
            counts.append(("pick.first_fraction", _first_picks(pick)))
        for key, count in [*counts, ("pick.frames", pick.frames)]:
            if count < 2:
                raise InputError(f"{key}: {count} is too few; at least 2 frames are needed")
            config = self.training("train.xyz", count)
            try:
                if not config.data.valid:
                    split_places(count, config.data.valid_fraction, config.data.split_seed)
            except InputError as error:
                raise InputError(f"{key} and data.valid_fraction: {error}") from None
        for name in {*needed_labels(config), *judging_labels(config)} - set(labels):
            raise InputError(
                f"{student.training_file or 'student.settings'}: loss.{name} has a weight, but "
                f"the frames of the teacher have only {', '.join(labels)}"
            )


def _first_picks(pick: CommitteePick) -> int:
    """Number of frames that the committee learns from."""
    return max(2, round(pick.first_fraction * pick.frames))


class _Distillation:
    """One distillation: the stages in their order."""

    def __init__(self, teacher: Teacher, starts, checked, config: DistillConfig, place: Place):
        self._teacher, self._config, self._place = teacher, config, place
        self._runs = plan_runs(starts, config.sample)
        self._students = _Students(config, checked)

    def run(self) -> dict:
        """All stages; returns the report."""
        config, place = self._config, self._place
        runs = sample(self._teacher, self._runs, config.sample, config.seed, place.pool)
        pool = [atoms for frames in runs for atoms in frames]
        picks = self._picks(pool, [len(frames) for frames in runs])
        sampled = [
            as_sampled(run.start.atoms, atoms)
            for run, frames in zip(self._runs, runs, strict=True)
            for atoms in frames
        ]
        self._write(place.train, self._labelled(sampled, picks["train"]))
        self._write(place.test, self._labelled(sampled, picks["test"], RESPONSE_FRAMES))
        sizes = [*sorted(set(config.student.sizes)), len(picks["train"])]
        students = {size: self._student(size, size == sizes[-1]) for size in sizes}
        about = {
            "teacher": self._teacher.name,
            "starts": len({run.start.source for run in self._runs}),
            "temperatures_k": list(config.sample.temperatures),
            "sampled_frames": len(pool),
            "picked_by": config.pick.kind,
        }
        return report(place, about, students)

    def _picks(self, pool: list[Atoms], sizes: Sequence[int]) -> dict[str, list[int]]:
        """Places of training and test frames in the pool."""
        file, pick = self._place.picks, self._config.pick
        if not file.is_file():
            learn, test = split(pick, sizes)
            chosen = self._choose([pool[n] for n in learn])
            picks = {
                "train": [int(learn[n]) for n in chosen],
                "test": spaced(test, pick.test_frames).tolist(),
            }
            write_atomically(file, json.dumps(picks) + "\n")
        return json.loads(file.read_text(encoding="utf-8"))

    def _choose(self, frames: list[Atoms]) -> list[int]:
        """Places of the training frames among these."""
        pick = self._config.pick
        model = untrained(self._students.training("pool", pick.frames), frames)
        vectors = describe_frames(model, frames)
        if not isinstance(pick, CommitteePick):
            return farthest_points(vectors, pick.frames)
        first = farthest_points(vectors, _first_picks(pick))
        spread = self._spread([frames[n] for n in first], frames)
        rest = uncertain_and_far(vectors, spread, pick.frames - len(first), first)
        return [*first, *rest]

    def _spread(self, first: list[Atoms], frames: list[Atoms]) -> np.ndarray:
        """Spread of the forces of a committee that learned from the first frames, eV/angstrom.

        The root mean square over the atoms of each frame.
        """
        pick, folder = self._config.pick, self._place.committee
        self._write(folder / "train.xyz", first)
        config = self._students.training(str(folder / "train.xyz"), len(first))
        config = with_epochs(config, max(1, round(pick.epochs_fraction * config.epochs)))
        members = []
        for n in range(pick.members):
            _say(f"training member {n + 1} of the committee")
            one = config.replace(seed=config.seed + n)
            members.append(load_model(trained(one, folder / f"member-{n}"), config.dtype))
        committee = Committee(members)
        committee.plan(frames)
        spreads = [
            committee.predict(atoms, ("forces",)).spread.forces
            for atoms in follow(frames, "frame of the pool")
        ]
        return np.array([np.sqrt(np.mean(forces**2)) for forces in spreads])

    def _labelled(self, pool, places: Sequence[int], responses: int = 0) -> list[Atoms]:
        """The frames at these places of the pool, labelled; the first ones with responses."""
        found = []
        for rank, n in enumerate(follow(places, "label")):
            file = self._place.labels / f"frame-{n:06d}.xyz"
            if not file.is_file():
                frame = labelled(
                    self._teacher,
                    pool[n],
                    f"{self._place.pool}, frame {n}",
                    stress=self._config.label_stress,
                    response=rank < responses,
                )
                write_frames(file, [frame])
            found.append(read(file, format="extxyz"))
        return found

    def _student(self, frames: int, is_last: bool) -> Path:
        """The student of the first picks; that of all picks is the result."""
        file, out = self._place.train, self._place.student
        if not is_last:
            file = self._place.out / f"train-{frames}.xyz"
            self._write(file, read(self._place.train, f":{frames}", format="extxyz"))
            out = self._place.out / f"student-{frames}"
        _say(f"training the student on {frames} frames: {out}")
        return trained(self._students.training(str(file), frames), out)

    def _write(self, file: Path, frames: list[Atoms]) -> None:
        if not file.is_file():
            write_frames(file, frames)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
