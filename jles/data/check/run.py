"""The whole check of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jles.data.check.energies import (
    Work,
    energies_are_plausible,
    energies_fit_forces,
    forces_add_up_to_zero,
    forces_are_plausible,
    net_forces,
    remaining_energies,
    work,
)
from jles.data.check.geometry import (
    Distances,
    boundaries,
    duplicates,
    measure,
    units_of_length,
)
from jles.data.check.labels import (
    born_charge_sums,
    missing_labels,
    named_labels,
    unread_keys,
)
from jles.data.check.remark import Remark, some
from jles.data.frames import Frame, LabelKeys, examine_frames
from jles.data.survey import Survey, survey_frames
from jles.errors import InputError


@dataclass(frozen=True)
class Check:
    """A data set and what was found.

    Attributes:
        frames: that can be used.
        survey: of these; None if there are none, or far too many neighbours.
        distances: of these.
        remaining: energies per atom without element energies, eV.
        net: error per force component that net forces show, eV/angstrom.
        work: energy differences against the work of the forces.
        remarks: serious ones first.
    """

    frames: list[Frame]
    survey: Survey | None
    distances: Distances
    remaining: np.ndarray
    net: np.ndarray
    work: Work | None
    remarks: list[Remark]

    @property
    def serious(self) -> bool:
        """Whether a training would fail or learn something wrong."""
        return any(remark.serious for remark in self.remarks)


def check_data(files: Sequence[str], keys: LabelKeys | None = None) -> Check:
    """Reads files and checks every frame.

    Args:
        files: labelled structures, any files ASE reads.
        keys: names of the labels in the files.
    """
    keys = keys or LabelKeys()
    frames, seen, remarks = _read(files, keys)
    distances = measure(frames)
    remarks += distances.remarks
    frames = [frame for frame, good in zip(frames, distances.usable, strict=True) if good]
    remaining, net, done = np.zeros(0), np.zeros(0), None
    if frames:
        remaining, net, done = remaining_energies(frames), net_forces(frames), work(frames)
        labels = {
            name for name in keys.__struct_fields__ if any(frame.has(name) for frame in frames)
        }
        for found in (
            boundaries(frames),
            units_of_length(distances),
            named_labels(files, frames, seen, keys),
            missing_labels(frames),
            unread_keys(seen, keys, labels),
            duplicates(frames),
            energies_are_plausible(frames, remaining),
            forces_are_plausible(frames, done),
            energies_fit_forces(done),
            forces_add_up_to_zero(frames, net),
            born_charge_sums(frames),
        ):
            remarks += found
    else:
        remarks.append(Remark("no frame can be used", serious=True))
    survey = None
    try:
        survey = survey_frames(frames) if frames else None
    except InputError as error:
        remarks.append(Remark(str(error), serious=True))
    remarks.sort(key=lambda remark: not remark.serious)
    return Check(frames, survey, distances, remaining, net, done, remarks)


def _read(files, keys):
    """Frames that can be used, keys of all values, and remarks on the other frames."""
    frames, seen, broken, remarks = [], set(), [], []
    for file in files:
        before = len(frames) + len(broken)
        try:
            for one in examine_frames(file, keys):
                seen |= one.keys
                if one.frame is None:
                    broken.append(one.error)
                else:
                    frames.append(one.frame)
        except InputError as error:
            some_read = len(frames) + len(broken) > before
            unread = "later frames of the file were not" if some_read else "no frame of it was"
            remarks.append(Remark(f"{error} ({unread} read)", True))
    if broken:
        text = f"{len(broken)} frames cannot be used: {some(broken)}"
        remarks.append(Remark(text, serious=True))
    return frames, seen, remarks
