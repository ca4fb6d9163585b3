"""Does a film of water lose a net orientation of its molecules, with and without charges?

Run:     python experiments/liquid_vapour.py --boxes 3 --picoseconds 1.2
         --out results/liquid_vapour
Needs:   seeds/water_interface_les.pth and water_interface_sr.pth (published models),
         water-rpbe-d3 (JLES_DATA), with --slab structures/water_slab_3072.xyz; one core,
         40 minutes.
Writes:  the runs (`jles md`), results.json and liquid_vapour.png in --out.
Expect:  with long-range forces the net dipole decays within a fraction of a picosecond, and the
         potential then differs between the two sides by a fluctuation of
         sqrt(kT d (1 - 1/eps) / (eps0 A)) about zero, for a film of thickness d and area A.
         Without, nothing at the surface is known inside: the decay takes as long as in the bulk
         (some 10 ps), and the fluctuation is larger by sqrt(eps), about 9. Short-range models
         are known to leave net order in slabs (J. Chem. Phys. 155, 164101; arXiv 2408.15165).

The film is cut from the frame of bulk water whose molecules are oriented most along one axis.
One box is 12 angstrom thick; the short-range model reaches 11 angstrom through its messages, so
only thicker films (--boxes) separate the two models. Hydrogen has a mass of 4 u, which
changes no average over positions and allows steps of 2 fs.
"""

from functools import partial

import ase.io
import numpy as np
from common import run, write_results
from interface_water import MODELS, stacked
from interfaces import orientation, sampled, sampling_options, water_of, whole

from jles.analysis.conditions import mean_temperature
from jles.analysis.estimators.blocks import block_average
from jles.analysis.estimators.planar import planar_density, planar_potential, planes_of
from jles.analysis.estimators.units import BOLTZMANN
from jles.analysis.reports.drawing import draw_band, rule
from jles.analysis.run import open_run
from jles.data.sets import data_set
from jles.pictures import PALETTE, new_figure, save_figure
from jles.units import EPSILON0

TEMPERATURE = 330.0
TIMESTEP = 2.0
VACUUM = 8.0
"""Above and below the film at the start, angstrom."""
WIDTH = 0.5
"""Of a layer, angstrom."""
MIDDLE = 4.0
"""Half the thickness of what counts as the middle of the film, angstrom."""
MOLAR_MASS, AVOGADRO = 18.015, 0.60221
"""Of water, g/mol; molecules per mol, times cubic angstrom per cubic centimetre."""
CHARGES = {8: -0.8476, 1: 0.4238}
"""Of SPC/E water, e: they give all models a potential by the same measure."""


def film(boxes: int):
    """Boxes of oriented molecules on top of each other, periodic along x and y alone."""
    return between_vacuum(stacked(boxes))


def published_slab():
    """The slab of 1,024 molecules, with whole molecules, periodic along x and y alone."""
    slab = ase.io.read(data_set("structures/water_slab_3072.xyz"))
    phases = np.exp(2j * np.pi * slab.get_scaled_positions()[slab.numbers == 8, 2])
    middle = np.angle(phases.mean()) / (2.0 * np.pi) * slab.cell[2, 2]
    slab.positions[:, 2] += 0.5 * slab.cell[2, 2] - middle
    return between_vacuum(whole(slab))


def between_vacuum(slab):
    """Periodic along x and y alone."""
    slab.center(VACUUM, axis=2)
    slab.pbc = True, True, False
    return slab


def half_height(start) -> float:
    """Half the height of all profiles: the film and what may evaporate, angstrom."""
    return float(np.ceil(0.5 * np.ptp(start.positions[:, 2]) + VACUUM))


def dynamics(model, start, chosen, out):
    """A run with a thermostat; it resumes where it stopped."""
    charges = {} if model.config.charges is None else {"charges": 5}
    sampled(
        model,
        start,
        chosen,
        TIMESTEP,
        TEMPERATURE,
        out,
        velocities={"source": "draw", "temperature": 0.5 * TEMPERATURE},
        record={"thermo": 5, "positions": 5, **charges},
        block=25,
        checkpoint=100,
    )
    return open_run(out)


def centred(start, positions) -> np.ndarray:
    """Positions of all frames with the mean height of the oxygens at zero."""
    moved = positions.copy()
    moved[:, :, 2] -= positions[:, start.numbers == 8, 2].mean(axis=1, keepdims=True)
    return moved


def in_a_crystal(start):
    """A copy in a periodic cell as high as the profiles, for finding molecules."""
    copy = start.copy()
    copy.cell[2, 2], copy.pbc = 2.0 * half_height(start), True
    return copy


def potentials(frames, charges, at, area: float) -> np.ndarray:
    """Potential (V) of charges (frames, atoms) or (atoms,) at these heights, by frame."""
    per_frame = np.broadcast_to(charges, frames.shape[:2])
    potential = partial(planar_potential, at, area=area)
    return np.array(
        [potential(z, q).potential for z, q in zip(frames[:, :, 2], per_frame, strict=True)]
    )


def across(start, trajectory) -> dict:
    """Series (frames, layers) of densities, orientation and potentials, and their heights.

    The latent potential is that of the channel with the largest charges.
    """
    frames = centred(start, trajectory.read("positions").values)
    end = half_height(start)
    edges = np.linspace(-end, end, round(2.0 * end / WIDTH) + 1)
    at, area = 0.5 * (edges[1:] + edges[:-1]), planes_of(start.cell.array).area
    moved = frames + [0.0, 0.0, end]
    number, cosine = orientation(in_a_crystal(start), moved, edges + end)
    hydrogens = frames[:, start.numbers == 1, 2]
    alike = np.array([CHARGES[z] for z in start.numbers])
    found = {
        "height": at,
        "density": number,
        "hydrogens": np.array([planar_density(z, edges, area) for z in hydrogens]),
        "orientation": cosine,
        "spce": potentials(frames, alike, at, area),
    }
    if trajectory.has("charges"):
        channels = trajectory.read("charges").values
        charges = channels[..., np.argmax(np.abs(channels).mean(axis=(0, 1)))]
        charges -= charges.mean(axis=1, keepdims=True)
        found["latent"] = potentials(frames, charges, at, area)
    return found


def mean_and_error(series) -> dict:
    """Of a series of numbers; the error is a lower bound where it has no plateau."""
    average = block_average(series)
    return {
        "mean": float(average.mean),
        "error": float(average.error),
        "error_converged": bool(average.converged),
        "rms_fluctuation": float(np.std(series)),
    }


def net(found: dict) -> np.ndarray:
    """Mean cosine of all molecules, by frame."""
    return found["orientation"].sum(axis=1) / found["density"].sum(axis=1)


def summary(found: dict, times, settling: float) -> dict:
    """Numbers of a run: its start, the decay of the net orientation, and what is sampled."""
    late, order = times > settling, net(found)
    below = np.flatnonzero(np.abs(order) < order[0] / np.e)
    heights, layers = found["height"], found["density"][late].mean(axis=0)
    record = {
        "frames": int(late.sum()),
        "cosine_at_start": float(order[0]),
        "picoseconds_to_1/e": float(times[below[0]]) if len(below) else None,
        "cosine": mean_and_error(order[late]),
        "density_g_per_cm3": float(
            layers[np.abs(heights) < MIDDLE].mean() * MOLAR_MASS / AVOGADRO
        ),
    }
    for name in ("spce", "latent"):
        if name in found:
            drop = found[name][late, -1] - found[name][late, 0]
            record[f"potential_of_upper_less_lower_side_v, {name}"] = mean_and_error(drop)
            inside = found[name][late][:, np.abs(heights) < MIDDLE].mean(axis=1)
            sides = 0.5 * (found[name][late, -1] + found[name][late, 0])
            record[f"potential_of_liquid_less_vapour_v, {name}"] = mean_and_error(
                inside - sides
            )
    return record


def whole_molecules(start, trajectory) -> int:
    """Oxygens of the last frame with two hydrogens."""
    last = in_a_crystal(start)
    last.positions = trajectory.read("positions").values[-1]
    return len(water_of(last)[0])


def expected(start, molecules: int) -> dict:
    """Fluctuation (V) of the potential between the sides, for a dielectric constant of 80."""
    area = planes_of(start.cell.array).area
    thickness = molecules * MOLAR_MASS / AVOGADRO / area
    with_charges = np.sqrt(
        BOLTZMANN * TEMPERATURE * thickness * (1.0 - 1.0 / 80.0) / (EPSILON0 * area)
    )
    return {"with_charges": float(with_charges), "without": float(np.sqrt(80.0) * with_charges)}


def draw(path, results: dict, times: dict, settling: float) -> None:
    """Net orientation in time; density, orientation, its integral and potential."""
    figure, axes = new_figure(5.0, 2.7, columns=2, rows=3)
    for (name, found), color in zip(results.items(), PALETTE, strict=False):
        late, heights = times[name] > settling, found["height"]
        axes[0].plot(times[name], net(found), color=color, label=name)
        drop = found["spce"][:, -1] - found["spce"][:, 0]
        axes[1].plot(times[name], drop, color=color)
        integral = np.cumsum(found["orientation"], axis=1) * WIDTH
        kinds = (found["density"], found["orientation"], integral, found["spce"])
        for axis, series in zip(axes[2:], kinds, strict=True):
            average = block_average(series[late])
            draw_band(axis, heights, average.mean, average.error, color)
    axes[0].set(xlabel="time (ps)", ylabel="⟨cos θ⟩ of all molecules")
    axes[0].legend(frameon=False, fontsize=8)
    axes[1].set(xlabel="time (ps)", ylabel="upper − lower side (V)")
    labels = (
        "molecules per Å³",
        "ρ⟨cos θ⟩ (1/Å³)",
        "∫ρ⟨cos θ⟩ dz (1/Å²)",
        "SPC/E potential (V)",
    )
    for axis, label in zip(axes[2:], labels, strict=True):
        axis.set(xlabel="height (Å)", ylabel=label, xlim=(heights[0], heights[-1]))
    for axis in (*axes[:2], *axes[3:]):
        rule(axis, 0.0, along="y")
    save_figure(figure, path)


def main(chosen):
    if chosen.smoke:
        chosen.settling, chosen.picoseconds = 0.02, 0.08
    start = published_slab() if chosen.slab else film(chosen.boxes)
    molecules = len(start) // 3
    found, times, results = {}, {}, {"expected_fluctuation_v": expected(start, molecules)}
    for name, read in MODELS.items():
        model = read()
        folder = chosen.out / "runs" / name.replace(" ", "_")
        trajectory = dynamics(model, start, chosen, folder)
        found[name] = across(start, trajectory)
        times[name] = 1e-3 * TIMESTEP * trajectory.read("positions").steps
        results[name] = summary(found[name], times[name], chosen.settling)
        results[name]["temperature"] = mean_temperature(
            open_run(trajectory.path, 1e3 * chosen.settling)
        )
        results[name]["molecules_at_end"] = whole_molecules(start, trajectory)
    results["molecules"] = molecules
    draw(chosen.out / "liquid_vapour.png", found, times, chosen.settling)
    write_results(chosen.out, results)


def parser():
    found = sampling_options(__doc__, "results/liquid_vapour", 0.4, 1.0)
    found.add_argument("--boxes", type=int, default=1, help="of 64 molecules (1)")
    found.add_argument("--slab", action="store_true", help="the slab of 1,024 molecules")
    return found


if __name__ == "__main__":
    run(main, parser())
