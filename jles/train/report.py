"""Parity pictures of a finished run on its validation frames."""

from pathlib import Path

import jax
import numpy as np

from jles.models.potential import Potential
from jles.observables.stress import energy_and_forces
from jles.pictures import new_figure, parity_axis, save_figure


def validation_pictures(out: Path, potential: Potential, params, loader) -> None:
    """Writes `parity.png`: energy per atom and forces, predicted against reference."""
    energies, forces = _predictions(potential, params, loader)
    panels = [
        (data, name, unit)
        for data, name, unit in (
            (energies, "energy per atom less offsets", "eV"),
            (forces, "forces", "eV/Å"),
        )
        if data[0].size
    ]
    if not panels:
        return
    figure, axes = new_figure(4.2, 4.2, columns=len(panels))
    for axis, ((reference, predicted), name, unit) in zip(axes, panels, strict=True):
        parity_axis(axis, reference, predicted, name, unit)
    save_figure(figure, out / "parity.png")


def _predictions(potential: Potential, params, loader):
    @jax.jit
    def predict(params, batch):
        return jax.vmap(
            lambda one: energy_and_forces(lambda moved: potential.energy_fn(params, moved), one)
        )(batch)

    energy_pairs, force_pairs = [], []
    for batch in loader.epoch(None):
        energy, forces = predict(params, batch.structure)
        labels, mask = batch.labels, np.asarray(batch.structure.mask)
        atoms = mask.sum(axis=1)
        has = np.asarray(labels.has_energy) > 0
        energy_pairs.append(
            np.stack([np.asarray(labels.energy)[has], np.asarray(energy)[has]]) / atoms[has]
        )
        keep = mask & (np.asarray(labels.has_forces) > 0)[:, None]
        pair = [np.asarray(labels.forces)[keep].ravel(), np.asarray(forces)[keep].ravel()]
        force_pairs.append(np.stack(pair))
    return np.concatenate(energy_pairs, axis=1), np.concatenate(force_pairs, axis=1)
