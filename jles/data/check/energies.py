"""Energies and forces: units by plausibility, consistency, outliers, net forces."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jles.data.check.remark import Remark, some
from jles.data.frames import Frame
from jles.data.offsets import fit_element_energies, offset_energy

ENERGY_UNITS = {"eV": 1.0, "hartree": 27.2114, "rydberg": 13.6057, "kcal/mol": 0.0433641}
ENERGY_UNITS |= {"kJ/mol": 0.0103643}
"""Of an energy, in eV."""

FORCE_UNITS = {f"{name}/angstrom": value for name, value in ENERGY_UNITS.items()}
FORCE_UNITS |= {f"{name}/bohr": value / 0.529177 for name, value in ENERGY_UNITS.items()}
"""Of a force, in eV/angstrom."""

_SMALL_FORCE, _LARGE_FORCE = 0.05, 15.0
_WIDE_ENERGIES = 1.0
_FARTHEST = 0.3
_FEWEST_STEPS = 5
_NET_SHARE = 0.05


class Work(NamedTuple):
    """Energy differences of neighbouring frames beside the work of their forces.

    Attributes:
        ratio: slope of difference against work; one if energies and forces fit together.
        correlation: of the two.
        steps: number of pairs of frames.
    """

    ratio: float
    correlation: float
    steps: int


def remaining_energies(frames: Sequence[Frame]) -> np.ndarray:
    """Energies per atom without the best element energies, eV; NaN without a label."""
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    offsets = fit_element_energies(frames, numbers)
    return np.array(
        [
            (frame.labels["energy"] - offset_energy(frame.numbers, offsets))
            / len(frame.numbers)
            if "energy" in frame.labels
            else np.nan
            for frame in frames
        ]
    )


def energies_are_plausible(frames: Sequence[Frame], remaining: np.ndarray) -> Iterator[Remark]:
    """Doubts about the spread of the energies, frames far off, and lost digits."""
    known = remaining[np.isfinite(remaining)]
    if len(known) < 2:
        return
    spread = float(np.std(known))
    if spread > _WIDE_ENERGIES:
        yield Remark(
            f"energies spread by {spread:.2g} eV/atom around element energies: are all of them "
            "in eV, from one code with one set of pseudopotentials?"
        )
    center = np.median(known)
    typical = 1.4826 * np.median(np.abs(known - center))
    far = np.flatnonzero(np.abs(remaining - center) > max(10.0 * typical, 0.005))
    if len(far) and len(known) >= 10:
        texts = [f"{frames[n].source} ({remaining[n] - center:+.3f} eV/atom)" for n in far]
        yield Remark(f"{len(far)} frames have energies far from the others: {some(texts)}")
    totals = np.array([f.labels["energy"] for f in frames if "energy" in f.labels])
    step = float(np.max(np.spacing(np.abs(totals).astype(np.float32))))
    if step > 1e-4 and np.array_equal(totals.astype(np.float32), totals):
        yield Remark(f"energies are rounded to float32, in steps of {step:.1g} eV")


def forces_are_plausible(frames: Sequence[Frame], found: Work | None) -> Iterator[Remark]:
    """Doubts about the unit of the forces, from their size.

    Args:
        frames: labelled or not.
        found: of `work`; small forces that fit the energies are in the right unit.
    """
    labelled = [frame.labels["forces"] for frame in frames if "forces" in frame.labels]
    if not labelled:
        return
    size = force_size(frames)
    said = f"forces have a root mean square of {size:.2g} eV/angstrom per component"
    if size == 0.0:
        yield Remark(f"{said}: every force is zero", serious=True)
    elif size < _SMALL_FORCE and not fit_together(found):
        yield Remark(
            f"{said}: are they in hartree/bohr (51.42 eV/angstrom), or are the structures "
            "relaxed? Training needs structures with forces"
        )
    elif size > _LARGE_FORCE:
        yield Remark(f"{said}: are they in kcal/mol/angstrom (0.0434 eV/angstrom)?")


def force_size(frames: Sequence[Frame]) -> float:
    """Root mean square of the force components, eV/angstrom; NaN without forces."""
    labelled = [frame.labels["forces"] for frame in frames if "forces" in frame.labels]
    return float(np.sqrt(np.mean(np.concatenate(labelled) ** 2))) if labelled else float("nan")


def work(frames: Sequence[Frame]) -> Work | None:
    r"""Energy differences against work, from successive frames that differ little.

    .. math:: E_b - E_a \approx -\tfrac12 \sum_i (F_{a,i} + F_{b,i}) \cdot (r_{b,i} - r_{a,i})

    Returns:
        None if fewer than five successive frames have the same atoms and cell with
        displacements below 0.3 angstrom.
    """
    done, found = [], []
    for one, other in zip(frames, frames[1:], strict=False):
        moved = _displacement(one, other)
        if moved is None or not 1e-4 < np.max(np.abs(moved)) < _FARTHEST:
            continue
        mean_force = 0.5 * (one.labels["forces"] + other.labels["forces"])
        done.append(-float(np.sum(mean_force * moved)))
        found.append(float(other.labels["energy"] - one.labels["energy"]))
    if len(done) < _FEWEST_STEPS or not np.std(done) or not np.std(found):
        return None
    done, found = np.array(done), np.array(found)
    ratio = float(done @ found / (done @ done))
    return Work(ratio, float(np.corrcoef(done, found)[0, 1]), len(done))


def _displacement(one: Frame, other: Frame) -> np.ndarray | None:
    """From one frame to the other, of the nearest images; None if they do not belong together.

    A displacement of all atoms together is removed, since forces do not depend on it.
    """
    fits = (
        np.array_equal(one.numbers, other.numbers)
        and np.array_equal(one.pbc, other.pbc)
        and np.allclose(one.cell, other.cell, atol=1e-6)
        and all({"energy", "forces"} <= frame.labels.keys() for frame in (one, other))
    )
    if not fits:
        return None
    moved = other.positions - one.positions
    if one.pbc.all():
        moved -= np.round(moved @ np.linalg.inv(one.cell)) @ one.cell
    return moved - moved.mean(axis=0)


def fit_together(found: Work | None) -> bool:
    """Whether energies and forces are known to be in units that fit together."""
    return found is not None and found.correlation > 0.9 and abs(found.ratio - 1.0) < 0.15


def energies_fit_forces(found: Work | None) -> Iterator[Remark]:
    """Doubts about units or signs, where energies change otherwise than the forces say."""
    if found is None or abs(found.correlation) < 0.9 or fit_together(found):
        return
    said = (
        f"energies change by {found.ratio:.3g} times the work of the forces "
        f"({found.steps} successive frames)"
    )
    if found.ratio < 0.0:
        yield Remark(f"{said}: are these gradients instead of forces?", serious=True)
        return
    # From the closest ratio: numbers of energy per eV over numbers of force per eV/angstrom.
    energy, force = min(
        ((e, f) for e in ENERGY_UNITS for f in FORCE_UNITS if e != f.split("/a")[0]),
        key=lambda units: abs(
            np.log(found.ratio * ENERGY_UNITS[units[0]] / FORCE_UNITS[units[1]])
        ),
    )
    yield Remark(f"{said}: as if energies were in {energy} and forces in {force}", serious=True)


def net_forces(frames: Sequence[Frame]) -> np.ndarray:
    r"""Error per force component that the net force of a frame shows, eV/angstrom.

    Independent errors of size :math:`\delta` add up to a net force of
    :math:`|\sum_i F_i| = \delta \sqrt{3 N}`. NaN without forces.
    """
    return np.array(
        [
            np.linalg.norm(frame.labels["forces"].sum(axis=0)) / np.sqrt(3 * len(frame.numbers))
            if "forces" in frame.labels
            else np.nan
            for frame in frames
        ]
    )


def forces_add_up_to_zero(frames: Sequence[Frame], net: np.ndarray) -> Iterator[Remark]:
    """Doubts about forces whose sum is not small."""
    known = net[np.isfinite(net)]
    if len(known) == 0:
        return
    typical, size = float(np.sqrt(np.mean(known**2))), force_size(frames)
    if typical > _NET_SHARE * size:
        worst = int(np.nanargmax(net))
        yield Remark(
            f"net forces are those of errors of {typical:.2g} eV/angstrom in every component "
            f"(root mean square of forces: {size:.2g}; worst: {frames[worst].source}); expect "
            "no smaller errors of a model"
        )
