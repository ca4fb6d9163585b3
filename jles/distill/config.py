"""Configuration of `jles distill`; docs/distill.md explains every key."""

from typing import Annotated, Any

from msgspec import Meta

from jles.config import Config, Seed, count, positive
from jles.errors import ConfigError
from jles.train.starting_config import kinds

_MANY = 2**31 - 1
_FRAMES = count(100_000)


class SampleConfig(Config):
    """Langevin dynamics with the teacher, from every start at every temperature.

    Each of these runs starts from its structure with random displacements (`rattle`, standard
    deviation of every coordinate) and, if it is periodic, a random symmetric strain of its cell
    (`strain`, standard deviation of every component). After `discard` steps every `interval`-th
    of `steps` steps is kept.
    """

    temperatures: tuple[positive(1e5, "K"), ...] = (300.0, 600.0)
    steps: count(_MANY) = 2000
    discard: count(_MANY, least=0) = 200
    interval: count(_MANY) = 10
    timestep: positive(1000.0, "fs") = 0.5
    friction: positive(1e6, "1/ps") = 10.0
    rattle: Annotated[float, Meta(ge=0.0, le=1.0, description="angstrom")] = 0.02
    strain: Annotated[float, Meta(ge=0.0, le=0.3)] = 0.01

    def __post_init__(self):
        super().__post_init__()
        if not self.temperatures:
            raise ConfigError("temperatures: is empty; give at least one (K)")
        if self.steps < self.interval:
            raise ConfigError(f"steps: {self.steps} is less than interval ({self.interval})")


class _Pick(Config, kw_only=True):
    frames: _FRAMES = 200
    test_frames: _FRAMES = 50
    held_out: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.2


class DiversityPick(_Pick, tag_field="kind", tag="diversity"):
    """Training frames far from one another, by the features of the untrained student.

    The last part of every run (`held_out`, a fraction) is only for the test frames.
    """


class CommitteePick(_Pick, tag_field="kind", tag="committee"):
    """Half of the frames as in `diversity`, the others where students disagree.

    `members` students learn from the first `first_fraction` of the frames, for
    `epochs_fraction` of the epochs. Of the twice as many frames whose forces they agree on
    least, those far from one another are picked.
    """

    members: count(100, least=2) = 3
    first_fraction: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.5
    epochs_fraction: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.3


class StudentConfig(Config):
    """The training of the student.

    Its training file is the one that `jles init-config` writes for `backbone`, or
    `training_file`. `settings` changes keys of it, e.g. {epochs: 100}; its data are the picked
    frames in any case. `sizes` are numbers of frames to train further students on, which show
    how the errors fall.
    """

    backbone: str = "painn"
    training_file: str | None = None
    settings: dict[str, Any] = {}
    sizes: tuple[_FRAMES, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.backbone not in kinds():
            known = ", ".join(sorted(kinds()))
            raise ConfigError(f"backbone: got {self.backbone!r}; choose one of {known}")


class DistillConfig(Config):
    """Everything `jles distill` needs beside the teacher and the starts.

    `teacher` holds arguments of the calculator, e.g. {model: small}. `label_stress` asks the
    teacher for the stress of crystals, if it has one.
    """

    teacher: dict[str, Any] = {}
    sample: SampleConfig = SampleConfig()
    pick: DiversityPick | CommitteePick = DiversityPick()
    label_stress: bool = True
    student: StudentConfig = StudentConfig()
    seed: Seed = 0

    def __post_init__(self):
        super().__post_init__()
        if max(self.student.sizes, default=0) >= self.pick.frames:
            raise ConfigError(
                f"student.sizes: {max(self.student.sizes)} must be below pick.frames "
                f"({self.pick.frames})"
            )
