"""What the experiments on interfaces share: options, water, its orientation, profiles."""

import argparse

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from common import duration, options, settled

from jles.analysis.estimators.planar import planar_density, planes_of
from jles.analysis.reports.drawing import draw_band, rule
from jles.analysis.reports.profile import DENSITY, FIELD, POTENTIAL
from jles.data.sets import data_set
from jles.pictures import GRID, PALETTE, new_figure, save_figure

BOND = 1.3
"""No hydrogen of a molecule is farther from its oxygen, angstrom."""
HEAVY = 4.0
"""Mass of hydrogen, u; averages over positions do not depend on masses."""


def sampling_options(
    description: str, out: str, settling: float, picoseconds: float
) -> argparse.ArgumentParser:
    """The options of a script, with the lengths of a run (ps) and their defaults."""
    found = options(description, out)
    for name, default, words in (
        ("settling", settling, "not sampled"),
        ("picoseconds", picoseconds, "sampling"),
    ):
        found.add_argument(
            f"--{name}", type=float, default=default, help=f"{words}, ps ({default:g})"
        )
    return found


def sampled(model, start: Atoms, chosen, timestep: float, temperature: float, out, **more):
    """A run with a thermostat and heavy hydrogens, as long as `sampling_options` say.

    It resumes where it stopped. `more` are settings of `jles md`.
    """
    length = duration(chosen.settling + chosen.picoseconds, timestep)
    settled(model, heavy(start), length, temperature, out, friction=10.0, **more)


def water_frames() -> list[Atoms]:
    """Bulk water at 300 K from density-functional dynamics, 64 molecules a frame."""
    return ase.io.read(data_set("water-rpbe-d3/ef.xyz"), ":")


def water_box() -> Atoms:
    """The first of these frames, with whole molecules."""
    return whole(water_frames()[0])


def whole(atoms: Atoms) -> Atoms:
    """A copy without labels: oxygens in the cell, hydrogens beside their oxygen."""
    copy = Atoms(atoms.numbers, atoms.get_positions(wrap=True), cell=atoms.cell, pbc=atoms.pbc)
    oxygens, hydrogens = water_of(copy)
    for bonds in hydrogens.T:
        vectors = copy.positions[bonds] - copy.positions[oxygens]
        copy.positions[bonds] = copy.positions[oxygens] + find_mic(vectors, copy.cell)[0]
    return copy


def heavy(atoms: Atoms) -> Atoms:
    """A copy with hydrogens of 4 u, for longer time steps."""
    copy = atoms.copy()
    masses = copy.get_masses()
    masses[copy.numbers == 1] = HEAVY
    copy.set_masses(masses)
    return copy


def bonded(atoms: Atoms) -> dict[int, np.ndarray]:
    """The hydrogens of each oxygen, by the distance."""
    from vesin import NeighborList

    search = NeighborList(cutoff=BOND, full_list=True)
    wrapped = atoms.get_positions(wrap=True)
    i, j = search.compute(wrapped, atoms.cell.array, bool(atoms.pbc.all()), "ij")
    pairs = (atoms.numbers[i] == 8) & (atoms.numbers[j] == 1)
    i, j = i[pairs].astype(int), j[pairs].astype(int)
    return {int(oxygen): j[i == oxygen] for oxygen in np.unique(i)}


def water_of(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Oxygens (n,) with two hydrogens, and these (n, 2)."""
    water = {oxygen: found for oxygen, found in bonded(atoms).items() if len(found) == 2}
    return np.array(list(water)), np.array(list(water.values()))


def cosines(positions, water, cell, normal) -> np.ndarray:
    """Cosine of the bisector H-O-H, from the oxygen to the hydrogens, and the normal."""
    oxygens, hydrogens = water
    bonds = positions[hydrogens] - positions[oxygens][:, None]
    bonds = find_mic(bonds.reshape(-1, 3), cell)[0].reshape(-1, 2, 3)
    axis = (bonds / np.linalg.norm(bonds, axis=-1, keepdims=True)).sum(axis=1)
    return axis @ normal / np.linalg.norm(axis, axis=-1)


def orientation(first: Atoms, frames, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density of water, and density times mean cosine of its dipole, along the third vector.

    Args:
        first: of the run; its molecules are those of all frames.
        frames: positions, (frames, atoms, 3), angstrom.
        edges: of the layers, angstrom, over one period.

    Returns:
        Two arrays (frames, layers), 1/angstrom^3.
    """
    cell = first.cell.array
    planes, water = planes_of(cell), water_of(first)
    number, cosine = [], []
    for positions in frames:
        heights = positions[water[0]] @ planes.normal
        weights = cosines(positions, water, cell, planes.normal)
        number.append(planar_density(heights, edges, planes.area, None, planes.period))
        cosine.append(planar_density(heights, edges, planes.area, weights, planes.period))
    return np.array(number), np.array(cosine)


def in_halves(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over frames, and half the difference of the two halves of the run as its error."""
    if len(series) < 2:
        return series.mean(axis=0), np.full(series.shape[1:], np.nan)
    first, second = np.array_split(series, 2)
    return series.mean(axis=0), 0.5 * np.abs(first.mean(axis=0) - second.mean(axis=0))


def first_layer(above, first, water, cosine, sign: float) -> dict:
    """Numbers of the first layer of water on a face.

    Args:
        above: heights of the layers over the face, angstrom.
        first: which of them belong to the first layer of water.
        water: density of molecules, 1/angstrom^3.
        cosine: that density times the mean cosine.
        sign: 1 if the normal of the face points along the third vector, else -1.
    """
    width = abs(above[1] - above[0])
    peak = int(np.argmax(np.where(first, water, 0.0)))
    return {
        "first_peak_angstrom": float(above[peak]),
        "first_peak_density": float(water[peak]),
        "first_layer_molecules_per_nm2": float(1e2 * water[first].sum() * width),
        "first_layer_cosine": float(sign * cosine[first].sum() / water[first].sum()),
    }


def middle_of(table: dict, water, inside) -> dict:
    """Density of water and latent field where `inside` is true, in the middle of a solution."""
    return {
        "water_per_cubic_angstrom": float(water[inside].mean()),
        "mean_field_v_per_angstrom": float(table[FIELD][inside].mean()),
        "largest_error_of_field": float(table[f"error of {FIELD}"][inside].max()),
    }


def draw_across(path, table: dict, water, cosine, solid: str, ions: dict[str, int]) -> None:
    """Densities, orientation, latent potential and field.

    Args:
        path: of the picture.
        table: columns of `profiles`.
        water: density of molecules and its error.
        cosine: that density times the mean cosine, and its error.
        solid: the element of the solid that is shown.
        ions: elements and the factors that make their densities visible.
    """
    figure, axes = new_figure(8.0, 2.0, rows=4)
    heights = table["height (angstrom)"]
    draw_band(axes[0], heights, *water, PALETTE[0], "water O")
    for (element, factor), color in zip({"H": 1, **ions}.items(), PALETTE[1:], strict=False):
        label = element if factor == 1 else f"{element} × {factor}"
        density = factor * table[DENSITY.format(element)]
        axes[0].plot(heights, density, color=color, linewidth=1.0, label=label)
    shown = table[DENSITY.format(solid)]
    axes[0].fill_between(heights, shown, color=GRID, label=solid, zorder=0)
    axes[0].set(ylabel="atoms per Å³", ylim=(0.0, 0.2))
    axes[0].legend(frameon=False, fontsize=8, ncols=5)
    draw_band(axes[1], heights, *cosine, PALETTE[0])
    axes[1].set_ylabel("ρ⟨cos θ⟩ (1/Å³)")
    for axis, name, label in zip(
        axes[2:],
        (POTENTIAL, FIELD),
        ("latent potential (V)", "latent field (V/Å)"),
        strict=True,
    ):
        draw_band(axis, heights, table[name], table[f"error of {name}"], PALETTE[0])
        axis.set_ylabel(label)
    for axis in axes:
        rule(axis, 0.0, along="y")
        axis.set_xlim(heights[0], heights[-1])
    axes[-1].set_xlabel("height (Å)")
    save_figure(figure, path)
