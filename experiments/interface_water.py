"""Does a slab of oriented water turn its molecules back, with and without latent charges?

Run:     python experiments/interface_water.py --out results/interface_water
Needs:   seeds/water_interface_les.pth and water_interface_sr.pth (published models),
         water-rpbe-d3 (JLES_DATA); one core, two minutes.
Writes:  results.json and interface_water.png in --out.
Expect:  a short-range model leaves a net orientation in the middle of a slab (arXiv
         2408.15165), because the surfaces are beyond its cutoff. With charges the
         polarization P of the slab makes a field inside, and a torque of p P / eps0 times a
         factor of the cell: 100 to 200 meV for the dipoles of water and the slab used here.

The slab is cut from the frame of bulk water whose molecules are oriented most along one axis.
The cut changes torques on molecules that reach no surface by the long-range part alone.
"""

from functools import partial

import numpy as np
from ase import Atoms
from common import imported, options, run, write_results
from interfaces import cosines, water_frames, water_of, whole

from jles.analysis.reports.drawing import rule
from jles.pictures import PALETTE, new_figure, points, save_figure

MODELS = {
    "latent charges": partial(imported, "seeds/water_interface_les.pth", long_range_weight=1.0),
    "short range": partial(imported, "seeds/water_interface_sr.pth"),
}
"""Functions that read the two models. The file with charges stores a weight of 0.02 for its
long-range energy, with which it was not trained (long_range_weight.py)."""
VACUUM = 30.0
REACHED = 4.0
"""Molecules nearer to the middle than this do not reach a surface, angstrom."""


def oriented(frames) -> Atoms:
    """The frame and axis with the largest mean cosine, turned so that it points along z."""
    most, best = -1.0, None
    for atoms in frames:
        water = water_of(atoms)
        for axis in range(3):
            cosine = cosines(atoms.positions, water, atoms.cell.array, np.eye(3)[axis]).mean()
            if abs(cosine) > most:
                most, best = abs(cosine), (atoms, axis, np.sign(cosine))
    atoms, axis, sign = best
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    return Atoms(
        atoms.numbers,
        atoms.positions[:, order] * [1.0, 1.0, sign],
        cell=atoms.cell.lengths()[order],
        pbc=True,
    )


def stacked(boxes: int) -> Atoms:
    """A crystal of oriented boxes of 64 molecules on top of each other; molecules are whole."""
    return whole(oriented(water_frames())).repeat((1, 1, boxes))


def with_vacuum(bulk: Atoms) -> Atoms:
    """The same molecules with vacuum above and below."""
    slab = bulk.copy()
    slab.positions[:, 2] += 0.5 * VACUUM
    slab.cell[2, 2] += VACUUM
    return slab


def torques(atoms: Atoms, forces) -> np.ndarray:
    """Torque on every molecule about its oxygen that turns its dipole towards z, eV."""
    oxygens, hydrogens = water_of(atoms)
    arms = atoms.positions[hydrogens] - atoms.positions[oxygens][:, None]
    torque = np.cross(arms, forces[hydrogens]).sum(axis=1)
    axes = np.cross(arms.sum(axis=1), [0.0, 0.0, 1.0])
    return np.sum(torque * axes, axis=1) / np.linalg.norm(axes, axis=1)


def after_cutting(model, bulk: Atoms) -> dict:
    """What the cut does to the torques (eV) by molecule, and heights from the middle.

    Molecules of both structures have the same places, so that the difference is due to what is
    missing above and below.
    """
    slab = with_vacuum(bulk)
    oxygens, _ = water_of(slab)
    heights = slab.positions[oxygens, 2]
    after, before = model.predict(slab).forces, model.predict(bulk).forces
    return {
        "height": heights - heights.mean(),
        "difference": torques(slab, after) - torques(bulk, before),
    }


def polarizations(model, bulk: Atoms) -> dict:
    """Latent polarization along z (e/angstrom^2) of molecules as they are in the bulk.

    In the slab cut from `bulk` it follows from the latent charges (root of the sum over
    channels of squares). In one box of the bulk it follows from Born charges, as the sum of Z*
    times the vector from the oxygen.
    Both are latent: Born charges are not multiplied by the root of the permittivity.
    """
    slab, box = with_vacuum(bulk), stacked(1)
    charges = model.predict(slab, ("charges",)).charges
    moments = (slab.positions[:, 2] - slab.positions[:, 2].mean()) @ charges
    born = model.predict(box, ("born_charges",)).born_charges
    oxygens, hydrogens = water_of(box)
    bonds = box.positions[hydrogens] - box.positions[oxygens][:, None]
    dipoles = np.einsum("mhb,mhb->m", born[hydrogens][:, :, 2], bonds)
    return {
        "from_charges_of_the_slab": float(np.linalg.norm(moments) / bulk.get_volume()),
        "from_born_charges_of_the_bulk": float(abs(dipoles.sum()) / box.get_volume()),
    }


def summary(cut: dict) -> dict:
    """Change of the torque in the middle: mean and its standard error, largest."""
    inside = 1e3 * cut["difference"][np.abs(cut["height"]) < REACHED]
    return {
        "molecules": len(inside),
        "mean_mev": float(inside.mean()),
        "its_error": float(inside.std(ddof=1) / np.sqrt(len(inside))),
        "largest_mev": float(np.abs(inside).max()),
    }


def draw(path, cuts: dict) -> None:
    """Change of the torque of every molecule by its height: all, and the middle enlarged."""
    figure, axes = new_figure(4.6, 3.4, columns=2)
    for axis, limit, reach in zip(axes, (600.0, 150.0), (20.0, 12.0), strict=True):
        for (name, cut), color in zip(cuts.items(), PALETTE, strict=False):
            points(axis, cut["height"], 1e3 * cut["difference"], color, label=name)
        rule(axis, 0.0, along="y")
        axis.set(
            xlabel="height from the middle (Å)",
            ylabel="change of torque by the cut (meV)",
            xlim=(-reach, reach),
            ylim=(-limit, limit),
        )
    axes[0].legend(frameon=False)
    save_figure(figure, path)


def main(chosen):
    bulk = stacked(1 if chosen.smoke else 3)
    models = {name: read() for name, read in MODELS.items()}
    cosine = cosines(bulk.positions, water_of(bulk), bulk.cell.array, np.eye(3)[2]).mean()
    cuts = {name: after_cutting(model, bulk) for name, model in models.items()}
    draw(chosen.out / "interface_water.png", cuts)
    results = {name: summary(cut) for name, cut in cuts.items()}
    results["latent charges"] |= polarizations(models["latent charges"], bulk)
    write_results(chosen.out, {"mean_cosine": float(cosine), **results})


if __name__ == "__main__":
    run(main, options(__doc__, "results/interface_water"))
