"""Induction, slabs and a changing cell: what the electrostatics does where published sums stop.

Run:     python experiments/electrostatics.py --out results/electrostatics
Needs:   nothing; 2 cores, two minutes.
Writes:  results.json, electrostatics.png in --out.
Expect:  docs/conventions.md, section 5: for a random ionic box of 96 atoms -14.4 eV in one shot and
         -11.7 self-consistently at 0.29 cubic angstrom, -71.9 and -35.0 at 1.44 (their box is
         another draw: compare ratios, 1.23 and 2.05). A slab's energy is independent of its vacuum
         and of the height it is summed in, to 1e-6 eV. Expanded, the smooth cutoff's energy
         is the integral of its stress, the sharp one's jumps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import arguments, write_results

from jles.electrostatics import (
    Multipoles,
    Response,
    SlabPlan,
    SumPlan,
    ewald_energy,
    lattice_sum,
    plan_kgrid,
)
from jles.pictures import new_figure, save_figure
from jles.units import COULOMB_CONSTANT

VOLUMES = np.array([0.1, 0.29, 0.6, 1.0, 1.44, 2.0])
"""Polarizabilities, cubic angstrom."""


def ionic_box(atoms=96, edge=10.0, nearest=1.6, seed=0):
    """Unit charges of either sign at random places no closer than `nearest`."""
    rng = np.random.default_rng(seed)
    places = []
    while len(places) < atoms:
        trial = rng.uniform(0.0, edge, 3)
        away = np.array([trial - place for place in places]).reshape(-1, 3)
        away -= edge * np.round(away / edge)
        if len(away) == 0 or np.linalg.norm(away, axis=1).min() > nearest:
            places.append(trial)
    return np.tile([1.0, -1.0], atoms // 2), np.array(places), np.eye(3) * edge


def induction():
    """Energies (eV) of responding, by polarizability and way."""
    charges, positions, cell = ionic_box()
    energies = {"one-shot": [], "self-consistent": []}
    steps = []
    for volume in VOLUMES:
        for mode, values in energies.items():
            alpha = np.full(len(charges), volume / COULOMB_CONSTANT)
            out = lattice_sum(
                Multipoles(charges),
                positions,
                cell,
                response=Response(polarizabilities=alpha, mode=mode),
                parts=True,
            )
            values.append(float(out.parts["induced"]))
        steps.append(int(out.report.steps))
    return energies | {"steps": steps}


def slab():
    """Energies (eV) of one charged slab, by the user's third vector and by the height summed in."""
    rng = np.random.default_rng(1)
    positions = rng.uniform(0.0, 1.0, (10, 3)) * [6.0, 7.0, 4.0]
    charges = rng.normal(size=10)
    values = []
    for third in ([0.0, 0.0, 10.0], [0.0, 0.0, 25.0], [3.0, -2.0, 60.0], [0.0, 0.0, 0.0]):
        cell = np.array([[6.0, 0.0, 0.0], [1.0, 7.0, 0.0], third])
        out = lattice_sum(Multipoles(charges), positions, cell, pbc=(True, True, False))
        values.append(float(out.energy))
    heights = []
    for height in (30.0, 35.0, 47.0, 60.0):
        grid = plan_kgrid(np.diag([6.1, 7.1, height]), 7.0)
        plan = SumPlan(grid=grid, slab=SlabPlan(2, height))
        out = lattice_sum(
            Multipoles(charges), positions, cell, pbc=(True, True, False), k_max=7.0, plan=plan
        )
        heights.append(float(out.energy))
    return values, heights


def expansion(cutoff, steps=200):
    """Energy (eV) along an expansion of a 12-atom cell, and the integral of its stress."""
    rng = np.random.default_rng(2)
    charges = np.tile([1.0, -1.0], 6)
    fractions, cell = (
        rng.uniform(size=(12, 3)),
        np.array([[6, 0, 0], [1, 6.3, 0], [0.5, -1, 5.8]]),
    )
    grid = plan_kgrid(1.3 * cell, np.pi)

    def energy(scale):
        places = jnp.asarray(fractions @ cell) * scale
        return ewald_energy(
            jnp.asarray(charges),
            places,
            jnp.asarray(cell) * scale,
            sigma=1.0,
            k_max=np.pi,
            grid=grid,
            cutoff=cutoff,
        )

    scales = np.linspace(1.0, 1.2, steps + 1)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(energy)))(jnp.asarray(scales))
    middle = jax.jit(jax.vmap(jax.grad(energy)))(jnp.asarray(0.5 * (scales[1:] + scales[:-1])))
    pieces = (slopes[1:] + 4.0 * middle + slopes[:-1]) / 6.0 * np.diff(scales)
    integral = values[0] + np.append(0.0, np.cumsum(pieces))
    return scales, np.asarray(values), np.asarray(integral)


def main():
    jax.config.update("jax_enable_x64", True)
    out = arguments(__doc__, "results/electrostatics").out
    found = induction()
    vacua, heights = slab()
    walks = {cutoff: expansion(cutoff) for cutoff in ("sharp", "smooth")}
    write_results(
        out,
        {
            "polarizability_angstrom3": VOLUMES.tolist(),
            "induction_ev": found,
            "slab_energies_ev": vacua,
            "slab_spread_by_vacuum_ev": float(np.ptp(vacua)),
            "slab_energies_by_height_ev": heights,
            "slab_spread_by_height_ev": float(np.ptp(heights)),
            "expansion_largest_difference_mev": {
                name: 1e3 * float(np.abs(values - integral).max())
                for name, (_, values, integral) in walks.items()
            },
        },
    )
    figure, (left, right) = new_figure(columns=2, width=4.4, height=3.6)
    for name in ("one-shot", "self-consistent"):
        left.plot(VOLUMES, found[name], "o-", label=name)
    left.set(xlabel="polarizability (Å³)", ylabel="induction energy (eV)")
    left.legend(frameon=False, fontsize=8)
    for name, (scales, values, integral) in walks.items():
        right.plot(scales, 1e3 * (values - integral), label=f"{name} cutoff")
    right.set(xlabel="cell scaled by", ylabel="energy − integrated stress (meV)")
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, out / "electrostatics.png")


if __name__ == "__main__":
    main()
