"""From one frame to the padded arrays of a batch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jles.data.cache import cached_neighbors
from jles.data.frames import Frame
from jles.data.offsets import offset_energy
from jles.errors import InputError
from jles.quantities.catalogue import trained_labels
from jles.structures.batch import build_structure, empty_structure, pad_structure
from jles.structures.labels import whole_labels
from jles.structures.sizes import Size
from jles.structures.structure import HostOrDevice, Structure

_ALWAYS = ("energy", "forces", "stress")

RESPONSES = tuple(name for name in trained_labels() if name not in _ALWAYS)
"""Labels of the electrical response, of which a loader holds the requested ones."""


class Labels(NamedTuple):
    """Reference values of a batch, in the units and shapes of the catalogue.

    Attributes:
        values: by name, (structures, ...); zero where a structure lacks the label and on
            padding atoms. Element energies are subtracted from the energy in float64; the
            stress is there only of structures periodic in all directions.
        has: by name, (structures,): 1 if the structure has the label, else 0.
    """

    values: dict[str, Float[HostOrDevice, "..."]]
    has: dict[str, Float[HostOrDevice, "*structures"]]


class Assembly(NamedTuple):
    """The conversion of frames to arrays; holds the arguments of a loader.

    Attributes:
        cutoff: of the neighbours, angstrom.
        sums: `k_max`, `sigma`, `method`, `accuracy` and `rank` of `build_structure`.
        offsets: element energies, eV by symbol, subtracted from the energies.
        responses: which of `RESPONSES` the labels hold beside energy, forces and stress.
        labelled: whether the model reads the `state` of every frame.
        dtype: of the real arrays.
        cache_dir: directory that keeps neighbour tables between runs.
    """

    cutoff: float
    sums: dict
    offsets: Mapping[str, float] = {}
    responses: Sequence[str] = ()
    labelled: bool = False
    dtype: type = np.float32
    cache_dir: str | None = None

    def structure(self, frame: Frame) -> Structure:
        """The structure of a frame, not padded.

        Raises:
            InputError: it cannot be built; names the frame.
        """
        try:
            state = None
            if self.labelled:
                state = whole_labels(frame.state, len(frame.numbers), "state")
            return build_structure(
                frame.numbers,
                frame.positions,
                frame.cell,
                frame.pbc,
                cutoff=self.cutoff,
                total_charge=frame.total_charge,
                state=state,
                neighbors=cached_neighbors(frame, self.cutoff, self.cache_dir),
                dtype=self.dtype,
                **self.sums,
            )
        except InputError as error:
            raise InputError(f"{frame.source}: {error}") from None

    def labels(self, frame: Frame, size: Size) -> Labels:
        """The labels of a frame, padded."""
        given = dict(frame.labels)
        if "energy" in given:
            given["energy"] = given["energy"] - offset_energy(frame.numbers, self.offsets)
        if not frame.pbc.all():
            given.pop("stress", None)
        labels = self._no_labels(size, np.float64)
        for name in labels.values:
            if name in given:
                places = tuple(map(slice, np.shape(given[name])))
                labels.values[name][places] = given[name]
                labels.has[name][...] = 1.0
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), labels)

    def rows(self, size: Size, count: int) -> tuple[Structure, Labels]:
        """Arrays of `count` empty structures and their labels."""
        nothing = (
            empty_structure(size, self.dtype, self.labelled),
            self._no_labels(size, self.dtype),
        )
        return jax.tree.map(lambda leaf: np.repeat(leaf[None], count, axis=0), nothing)

    def write(self, rows, row: int, frame: Frame, structure: Structure, size: Size) -> None:
        """Writes a frame and its structure into a row of `rows`."""
        values = pad_structure(structure, size), self.labels(frame, size)
        for array, value in zip(jax.tree.leaves(rows), jax.tree.leaves(values), strict=True):
            array[row] = value

    def _no_labels(self, size: Size, dtype) -> Labels:
        values, has = {}, {}
        for name in (*_ALWAYS, *self.responses):
            shape = trained_labels()[name].shape
            shape = tuple(size.atoms if length == "atoms" else length for length in shape)
            values[name], has[name] = np.zeros(shape, dtype), np.zeros((), dtype)
        return Labels(values, has)
