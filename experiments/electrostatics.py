"""Induction, slabs and a changing cell: results that published sums do not give.

Run:     python experiments/electrostatics.py --out results/electrostatics
Needs:   no data; 2 cores, one minute.
Writes:  results.json, electrostatics.png in --out.
Expect:  the induction energy of a random ionic box of 96 atoms (docs/theory.md, eqs. 26, 27)
         was found elsewhere to be -14.4 eV in one shot and -11.7 eV self-consistently at 0.29
         cubic angstrom, -71.9 and -35.0 eV at 1.44; that box is another draw: compare the
         ratios, 1.23 and 2.05. The energy of a slab does not depend on its vacuum or on the
         height of the summation, to 1e-6 eV. When the cell expands, the energy with the smooth
         cutoff is the integral of its stress; with the sharp cutoff it jumps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import options, run, write_results

from jles.electrostatics import (
    Multipoles,
    Response,
    SlabPlan,
    SumPlan,
    ewald_energy,
    lattice_sum,
    plan_kgrid,
)
from jles.pictures import ACCENT, SECOND, new_figure, save_figure
from jles.units import COULOMB_CONSTANT

VOLUMES = np.array([0.1, 0.29, 0.6, 1.0, 1.44, 2.0])
"""Polarizabilities, cubic angstrom."""


def ionic_box(atoms, edge=10.0, nearest=1.6, seed=0):
    """Unit charges of both signs at random places, no two closer than `nearest`."""
    rng = np.random.default_rng(seed)
    places = []
    while len(places) < atoms:
        trial = rng.uniform(0.0, edge, 3)
        away = np.array([trial - place for place in places]).reshape(-1, 3)
        away -= edge * np.round(away / edge)
        if len(away) == 0 or np.linalg.norm(away, axis=1).min() > nearest:
            places.append(trial)
    return np.tile([1.0, -1.0], atoms // 2), np.array(places), np.eye(3) * edge


def induction(volumes, atoms):
    """Induction energies (eV) and iterations of the solver, by polarizability."""
    charges, positions, cell = ionic_box(atoms)
    energies = {"one-shot": [], "self-consistent": []}
    steps = []
    for volume in volumes:
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
    """Energies (eV) of a charged slab, by the third cell vector and by the summation height."""
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


def expansion(cutoff, steps):
    """Scale, energy (eV) and integrated stress (eV) along an expansion of a 12-atom cell."""
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


def draw(path, volumes, found, expansions):
    """Induction energies left, energy minus integrated stress right."""
    figure, (left, right) = new_figure(columns=2, width=4.4, height=3.6)
    for name, color in (("one-shot", ACCENT), ("self-consistent", SECOND)):
        left.plot(volumes, found[name], "o-", color=color, markersize=5, label=name)
    left.set(xlabel="polarizability (Å³)", ylabel="induction energy (eV)")
    left.legend(frameon=False, fontsize=8)
    for (name, (scales, values, integral)), color in zip(
        expansions.items(), (ACCENT, SECOND), strict=True
    ):
        right.plot(scales, 1e3 * (values - integral), color=color, label=f"{name} cutoff")
    right.set(xlabel="scale of the cell", ylabel="energy − integrated stress (meV)")
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main(chosen):
    jax.config.update("jax_enable_x64", True)
    out = chosen.out
    volumes = VOLUMES[:2] if chosen.smoke else VOLUMES
    found = induction(volumes, atoms=24 if chosen.smoke else 96)
    vacua, heights = slab()
    steps = 10 if chosen.smoke else 200
    expansions = {cutoff: expansion(cutoff, steps) for cutoff in ("sharp", "smooth")}
    write_results(
        out,
        {
            "polarizability_angstrom3": volumes.tolist(),
            "induction_ev": found,
            "slab_energies_ev": vacua,
            "slab_spread_by_vacuum_ev": float(np.ptp(vacua)),
            "slab_energies_by_height_ev": heights,
            "slab_spread_by_height_ev": float(np.ptp(heights)),
            "expansion_largest_difference_mev": {
                name: 1e3 * float(np.abs(values - integral).max())
                for name, (_, values, integral) in expansions.items()
            },
        },
    )
    draw(out / "electrostatics.png", volumes, found, expansions)


if __name__ == "__main__":
    run(main, options(__doc__, "results/electrostatics"))
