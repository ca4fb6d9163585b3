"""The directory of a distillation: its files, and checks before a start or a resumption."""

from pathlib import Path
from typing import NamedTuple

import yaml

from jles.config import first_difference, read_yaml
from jles.errors import InputError
from jles.files import write_atomically
from jles.lock import LOCK
from jles.strict_yaml import to_yaml


class Place(NamedTuple):
    """Names of the files in the directory of a distillation; each is written once, whole."""

    out: Path

    @property
    def record(self) -> Path:
        """File with the teacher, the starts and the configuration."""
        return self.out / "distill.yaml"

    @property
    def pool(self) -> Path:
        """Folder of the runs with the teacher."""
        return self.out / "pool"

    @property
    def picks(self) -> Path:
        """Places of the picked frames in the pool."""
        return self.out / "picks.json"

    @property
    def labels(self) -> Path:
        """Folder of the labelled frames."""
        return self.out / "labels"

    @property
    def committee(self) -> Path:
        """Folder of the students that help to pick."""
        return self.out / "committee"

    @property
    def train(self) -> Path:
        """Training frames, in the order of the picks."""
        return self.out / "train.xyz"

    @property
    def test(self) -> Path:
        """Test frames."""
        return self.out / "test.xyz"

    @property
    def student(self) -> Path:
        """Model directory of the student."""
        return self.out / "student"


def claim(place: Place, record: dict, resume: bool) -> None:
    """Writes the record of a new distillation, or compares it with that to resume.

    Raises:
        InputError: the directory holds something else, there is nothing to resume, or another
            distillation is resumed; the first key that differs is named.
    """
    out = place.out
    if not resume:
        if place.record.exists():
            raise InputError(f"{out}: holds a distillation; give --resume or another --out")
        if any(path.name != LOCK for path in out.iterdir()):
            raise InputError(f"{out}: is not empty; give another --out")
        write_atomically(place.record, to_yaml(record))
        return
    if not place.record.is_file():
        raise InputError(f"{out}: nothing to resume here (it has no {place.record.name})")
    before = read_yaml(place.record)
    # An earlier version wrote fewer keys.
    now = {name: value for name, value in plain(record).items() if name in before}
    changed = first_difference(before, now)
    if changed:
        name, before, now = changed
        raise InputError(
            f"{place.record}: --resume with other settings ({name} was {before!r}, now "
            f"{now!r}); give another --out"
        )


def plain(record: dict) -> dict:
    """The record as YAML gives it back."""
    return yaml.safe_load(to_yaml(record))
