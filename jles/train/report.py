"""Parity pictures of a finished run on its validation frames."""

from collections.abc import Collection
from pathlib import Path

import jax
import numpy as np

from jles.models.potential import Potential
from jles.pictures import new_figure, parity_axis, save_figure
from jles.quantities.catalogue import trained_labels
from jles.train.losses import compared, differences
from jles.units import pretty

_TITLES = {"energy": "energy per atom less\nelement energies"}
"""Where the label in a training differs from that in a file."""


def validation_pictures(
    out: Path, potential: Potential, params, loader, needed: Collection[str] = ()
) -> None:
    """Writes `parity.png`: predicted against reference values.

    It shows energy per atom, forces and those responses that are trained on. The dipole of a
    crystal is taken on the branch nearest to its reference.
    """
    pairs = _pairs(potential, params, loader, needed)
    panels = {name: pair for name, pair in pairs.items() if pair.size}
    if not panels:
        return
    figure, axes = new_figure(4.2, 4.2, columns=len(panels))
    for axis, (name, (reference, predicted)) in zip(axes, panels.items(), strict=True):
        quantity = trained_labels()[name]
        title = _TITLES.get(name, quantity.label.title)
        parity_axis(axis, reference, predicted, title, pretty(quantity.unit))
    save_figure(figure, out / "parity.png")


def _pairs(potential: Potential, params, loader, needed) -> dict[str, np.ndarray]:
    """Reference and prediction of every labelled number, (2, numbers) by label."""
    shown = tuple(
        name for name in trained_labels() if name in {"energy", "forces", *needed} - {"stress"}
    )

    @jax.jit
    def differ(params, batch, labels):
        return differences(potential, params, batch, labels, shown)

    pairs = {name: [] for name in shown}
    for batch in loader.epoch(None):
        structure, labels = batch.structure, batch.labels
        errors = differ(params, structure, labels)
        for name in shown:
            keep = np.asarray(compared(structure, labels, name))
            reference = np.asarray(labels.values[name])
            if name == "energy":
                reference = reference / np.maximum(structure.mask.sum(axis=1), 1)
            reference = reference[keep]
            pairs[name].append(
                np.stack([reference, reference + np.asarray(errors[name])[keep]])
            )
    return {name: np.concatenate(found, axis=1) for name, found in pairs.items()}
