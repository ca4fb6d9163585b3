"""Optimal control: the field pulse of least fluence that switches PbTiO3.

Run:     python experiments/optimal_switching.py --out results/optimal_switching
Needs:   pbtio3_phase_4.pth (published models); one core, about an hour.
Writes:  rectangles.json and descent.jsonl (read again on a restart), optimum.json,
         switching.png, results.json in --out.
Expect:  a pulse in time with the soft mode switches with less fluence than any constant field
         (Qi, Shin, Yeh, Nelson, Rappe, Phys. Rev. Lett. 102, 247603 (2009): shaped terahertz
         pulses in PbTiO3, by hand; no published optimum).

The crystal starts at rest in its tetragonal cell, polarized along -z, with velocities of 20 K,
and is coupled to a bath at 0 K. The field along +z is a sum of B-splines in time. A pulse
switches the crystal if the displacement q stays near 1 at the end; q is that of the atoms along
z weighted with the Born charges of the cubic crystal, -1 at the start. The gradient of the mean
of q in the second half of the trajectory, taken through the dynamics, says how a field of the
same fluence pushes the crystal further over the barrier. Each iteration turns the pulse towards
it and lowers the fluence as far as the crystal still switches.
"""

import json
import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from common import imported, options, run, simulated, write_results
from jax_md import simulate as jax_md_simulate
from lead_titanate import EPSILON_INFINITY, cubic, tetragonal
from scipy.interpolate import BSpline

from jles.dynamics.differentiable import current, integrated, simulate
from jles.dynamics.integrators import shift
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND, PICOSECOND
from jles.files import write_atomically
from jles.models.config import ScreeningConfig
from jles.pictures import PALETTE, new_figure, save_figure
from jles.structures.structure import Structure

TIMESTEP = 3.0
"""fs."""
FRICTION, TEMPERATURE = 3.0, 20.0
"""1/ps of the bath at 0 K; K of the velocities at the start."""
WINDOW, GOAL = 300.0, 0.8
"""fs at the end in which q counts; its goal there."""
REST = 120.0
"""fs from the end of the first rectangle to the end of the pulse."""
EVERY = 4  # steps between records
VACUUM = 2.6544
"""epsilon_0 c, mJ/cm^2 for 1 (MV/cm)^2 ps."""


@dataclass(frozen=True)
class Crystal:
    """A relaxed crystal and its model.

    Attributes:
        model: with physical Born charges.
        atoms: at rest in a tetragonal cell, polarized along -z.
        structure: of these atoms.
        sites: z of the sites of the cubic crystal, angstrom.
        charges: zz Born charges there, e.
        pulse, duration: of the field and of a trajectory, fs.
    """

    model: object
    atoms: Atoms
    structure: Structure
    sites: np.ndarray
    charges: np.ndarray
    pulse: float
    duration: float

    @cached_property
    def times(self) -> np.ndarray:
        """Ends of the steps, fs."""
        return TIMESTEP * (1.0 + np.arange(round(self.duration / TIMESTEP)))

    def moved(self, positions):
        return replace(self.structure, positions=positions)

    def forces(self, positions, field):
        """Forces in a field, without the net force on charges that do not sum to zero."""

        def enthalpy(places):
            return self.model.enthalpy_fn(self.model.params, self.moved(places), field)

        forces = -jax.grad(enthalpy)(positions)
        return forces - jnp.mean(forces, axis=0)

    def coupling(self, positions, field):
        return self.model.coupling_fn(self.model.params, self.moved(positions), field)

    def displacement(self, state):
        """q: Born charges times displacements along z, 1 in size at rest."""
        charges, sites = (jnp.asarray(x, jnp.float32) for x in (self.charges, self.sites))
        rest = np.sum(self.charges * (self.atoms.positions[:, 2] - self.sites))
        return jnp.sum(charges * (state.position[:, 2] - sites)) / abs(rest)

    def trajectory(self, field, observe):
        """Records of a trajectory in a field along z, (steps,), V/angstrom."""
        init, apply = jax_md_simulate.nvt_langevin(
            self.forces, shift, TIMESTEP * FEMTOSECOND, 0.0, FRICTION / PICOSECOND
        )
        masses = self.atoms.get_masses()
        state = init(
            jax.random.key(0), self.structure.positions, mass=jnp.float32(masses),
            momenta=jnp.float32(cold_momenta(masses)), field=jnp.zeros(3, jnp.float32),
        )  # fmt: skip
        fields = jnp.zeros((len(field), 3), jnp.float32).at[:, 2].set(field)
        _, records = simulate(
            apply, state, len(field), TIMESTEP,
            forcing={"field": fields}, observe=observe, every=EVERY,
        )  # fmt: skip
        return records

    @cached_property
    def displacements(self):
        """Compiled: field to the records of q."""
        return jax.jit(partial(self.trajectory, observe=self.displacement))

    def switches(self, displacements) -> bool:
        """Whether q reaches its goal in the last `WINDOW`, up to 0.1 on average."""
        last = np.asarray(displacements)[-round(WINDOW / TIMESTEP / EVERY) :]
        return bool(np.mean(np.maximum(0.0, GOAL - last) ** 2) < 0.01)


def cold_momenta(masses) -> np.ndarray:
    """Momenta of `TEMPERATURE`, without that of the center of mass."""
    masses = masses[:, None]
    draw = np.random.default_rng(0).normal(size=(len(masses), 3))
    momenta = draw * np.sqrt(masses * BOLTZMANN * TEMPERATURE)
    return momenta - masses * momenta.sum(axis=0) / masses.sum()


def relaxed(cells: int, pulse: float, duration: float, out) -> Crystal:
    """The crystal in the cell of experiment, its atoms at rest."""
    model = imported("pbtio3_phase_4.pth", screening=ScreeningConfig(EPSILON_INFINITY, "Ti"))
    minimise = {"steps": 200, "ensemble": {"kind": "minimise", "force_tolerance": 0.002}}
    first = tetragonal() * ((cells,) * 3)
    atoms = simulated(model, first, minimise, out / f"minimum_{cells}")
    ideal = cubic(tetragonal().cell).repeat(cells)
    born = model.predict(ideal, want=("born_charges",), sum_rule=True).born_charges
    sites, charges = ideal.positions[:, 2].copy(), born[:, 2, 2]
    structure = model.potential.structure(atoms, dtype=model.dtype)
    # The neighbours belong to wrapped positions.
    images = np.asarray(structure.positions, float) - atoms.positions
    atoms.positions += images
    sites += images[:, 2]
    return Crystal(model, atoms, structure, sites, charges, pulse, duration)


def fluence(field):
    """Integral of the square of a field, (MV/cm)^2 ps; the field in V/angstrom."""
    return 10.0 * TIMESTEP * jnp.sum(jnp.asarray(field) ** 2)


def rectangle(crystal: Crystal, length: float, amplitude: float, start: float = 0.0):
    """A constant field of some length, (steps,), V/angstrom."""
    inside = (crystal.times > start) & (crystal.times <= start + length)
    return np.where(inside, amplitude, 0.0).astype(np.float32)


def scan(crystal: Crystal, lengths, fluences, halvings: int = 2) -> list[dict]:
    """Rectangles of each length: rising fluence until one switches, then bisection."""
    rows = []

    def switches(length, wanted):
        amplitude = float(np.sqrt(wanted / (10.0 * length)))
        q = np.asarray(crystal.displacements(rectangle(crystal, length, amplitude)))
        row = {"length": length, "amplitude": amplitude, "fluence": wanted}
        row |= {"switches": crystal.switches(q), "q": float(q[-1])}
        rows.append(row)
        print(row, flush=True)
        return row["switches"]

    for length in lengths:
        tried = (wanted for wanted in fluences if switches(length, wanted))
        above = next(tried, None)
        if above is None:
            continue
        below = max((wanted for wanted in fluences if wanted < above), default=0.0)
        for _ in range(halvings):
            middle = 0.5 * (below + above)
            if switches(length, middle):
                above = middle
            else:
                below = middle
    return rows


def basis(crystal: Crystal, count: int) -> np.ndarray:
    """Cubic B-splines inside the pulse, orthonormal in the fluence, (steps, count)."""
    spacing = crystal.pulse / (count + 3)
    knots = spacing * np.arange(count + 4)
    splines = BSpline(knots, np.eye(count), 3, extrapolate=False)
    values = np.nan_to_num(splines(crystal.times))
    # The symmetric square root keeps every function close to one spline.
    overlap = 10.0 * TIMESTEP * values.T @ values
    sizes, vectors = np.linalg.eigh(overlap)
    return (values @ (vectors / np.sqrt(sizes)) @ vectors.T).astype(np.float32)


def compiled_margin(crystal: Crystal, splines):
    """Coefficients to ((mean of q in the second half, records of q), gradient)."""

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def margin(coefficients):
        q = crystal.trajectory(splines @ coefficients, crystal.displacement)
        return jnp.mean(q[len(q) // 2 :]), q

    return margin


def descend(crystal: Crystal, margin, splines, first, budget: int, file):
    """Turns the pulse towards the gradient of the margin and lowers it as far as it switches.

    With orthonormal splines the fluence is the square of the coefficients. At the least fluence
    that switches, the coefficients are parallel to the gradient of the margin.

    Args:
        crystal: to switch.
        margin: see `compiled_margin`.
        splines: see `basis`.
        first: coefficients of a pulse that switches.
        budget: number of gradients, those of an earlier start in `file` included.
        file: one line for every gradient; the last line is the new start.

    Returns:
        the lines, and the coefficients of the last pulse that switches.
    """
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    pulse, turn = np.asarray(rows[-1]["coefficients"] if rows else first), 0.5

    def lowest(direction, size, factors):
        """The first pulse along a direction that switches, or None."""
        for factor in factors:
            tried = factor * size * direction / np.linalg.norm(direction)
            if crystal.switches(crystal.displacements(jnp.float32(splines @ tried))):
                return tried
        return None

    if not rows:
        found = lowest(pulse, np.linalg.norm(pulse), (0.9, 1.0, 1.1, 1.2, 1.4))
        pulse = pulse if found is None else found
    while len(rows) < budget:
        start = time.process_time()
        (value, _), gradient = jax.block_until_ready(margin(jnp.float32(pulse)))
        seconds = time.process_time() - start
        size, normal = np.linalg.norm(pulse), np.asarray(gradient, float)
        normal /= np.linalg.norm(normal)
        row = {"fluence": float(size**2), "margin": float(value), "turn": turn}
        row |= {"parallel": float(pulse @ normal / size), "seconds": seconds}
        rows.append(row | {"coefficients": pulse.tolist()})
        with file.open("a") as log:
            log.write(json.dumps(rows[-1]) + "\n")
        print(row, flush=True)
        while turn > 0.02:
            mixed = (1.0 - turn) * pulse / size + turn * normal
            found = lowest(mixed, size, (0.8, 0.9, 0.96, 0.99))
            if found is not None:
                pulse, turn = found, min(0.5, 1.5 * turn)
                break
            turn *= 0.4
        else:
            break
    return rows, pulse


def gradient_check(crystal: Crystal, margin, splines, coefficients) -> dict[str, float]:
    """Derivative of the margin along one direction, by gradient and by difference."""
    along = np.random.default_rng(1).normal(size=len(coefficients))

    def mean(coefficients):
        q = np.asarray(crystal.displacements(jnp.float32(splines @ coefficients)), float)
        return q[len(q) // 2 :].mean()

    ends = [mean(coefficients + sign * 0.02 * along) for sign in (1, -1)]
    slope = float(np.asarray(margin(jnp.float32(coefficients))[1], float) @ along)
    return {"gradient": slope, "central difference": float(ends[0] - ends[1]) / 0.04}


def watched(crystal: Crystal, field, longer: float) -> dict:
    """q and the change of polarization of a trajectory, followed without a field for longer."""
    field = np.pad(field, (0, round(longer / TIMESTEP / EVERY) * EVERY))

    @jax.jit
    def records(field):
        def observe(state):
            rate = current(crystal.coupling, state, "reverse")
            return crystal.displacement(state), rate

        return crystal.trajectory(field, observe)

    q, rates = records(jnp.asarray(field, jnp.float32))
    density = 1602.1766 / crystal.atoms.get_volume()
    change = density * integrated(rates, TIMESTEP * EVERY)
    return {"field": field, "q": np.asarray(q), "change": np.asarray(change).tolist()}


def draw(rows, found: dict, file) -> None:
    """Fluence of the rectangles; fields and displacements of the best ones."""
    figure, (scanned, fields, places) = new_figure(3.6, 3.2, columns=3)
    for row in rows:
        face = PALETTE[0] if row["switches"] else "none"
        scanned.scatter(row["length"], row["fluence"], 22, facecolor=face, edgecolor=PALETTE[0])
    names = {"rectangle": "best rectangle", "optimum": "found through the dynamics"}
    for (name, label), color in zip(names.items(), PALETTE, strict=False):
        if name == "optimum":
            scanned.axhline(float(fluence(found[name]["field"])), color=color)
        times = 1e-3 * TIMESTEP * np.arange(len(found[name]["field"]) + 1)
        fields.plot(times[1:], 100.0 * found[name]["field"], color=color, label=label)
        places.plot(times[::EVERY], found[name]["q"], color=color, label=label)
    scanned.set(xlabel="length of a rectangle (fs)", ylabel="fluence ((MV/cm)² ps)")
    scanned.set_title("filled: switches; line: optimum", fontsize=8)
    fields.set(xlabel="time (ps)", ylabel="field (MV/cm)")
    places.set(xlabel="time (ps)", ylabel="displacement q")
    places.axhline(GOAL, color="0.6", linewidth=0.8, linestyle="--", zorder=0.9)
    fields.legend(frameon=False, fontsize=7)
    save_figure(figure, file)


def main(chosen):
    out = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    if chosen.smoke:
        chosen.cells, chosen.gradients, chosen.count = 1, 1, 4
        chosen.pulse, chosen.duration, chosen.longer = 60.0, 360.0, 24.0
        chosen.lengths, chosen.fluences = [60.0], [16.0]
    crystal = relaxed(chosen.cells, chosen.pulse, chosen.duration, out)

    scanned = out / "rectangles.json"
    if not scanned.is_file():
        rows = scan(crystal, chosen.lengths, chosen.fluences)
        write_atomically(scanned, json.dumps(rows))
    rows = json.loads(scanned.read_text())
    best = min(rows, key=lambda row: (not row["switches"], row["fluence"]))

    splines = basis(crystal, chosen.count)
    box = rectangle(crystal, best["length"], best["amplitude"])
    # Late, so that a field can precede it; stronger, because the splines round the edges off.
    late = max(0.0, crystal.pulse - REST - best["length"])
    later = rectangle(crystal, best["length"], best["amplitude"], late)
    first = chosen.stretch * np.linalg.lstsq(splines, later, rcond=None)[0]
    if chosen.start is not None:
        first = np.asarray(json.loads(chosen.start.read_text())["coefficients"])
    margin = compiled_margin(crystal, splines)
    descent, optimum = descend(
        crystal, margin, splines, first, chosen.gradients, out / "descent.jsonl"
    )
    check = gradient_check(crystal, margin, splines, 0.5 * first)
    print(check, flush=True)

    kept = {"fluence": float(optimum @ optimum), "coefficients": optimum.tolist()}
    write_atomically(out / "optimum.json", json.dumps(kept))
    fields = {"rectangle": box, "optimum": splines @ np.float32(optimum)}
    found = {name: watched(crystal, field, chosen.longer) for name, field in fields.items()}
    draw(rows, found, out / "switching.png")
    write_results(
        out,
        {
            "rectangle": best,
            "optimum": {"fluence": kept["fluence"], "parallel": descent[-1]["parallel"]},
            "mJ/cm^2": {name: VACUUM * float(fluence(field)) for name, field in fields.items()},
            "microC/cm^2": {name: part["change"] for name, part in found.items()},
            "last q": {name: float(part["q"][-1]) for name, part in found.items()},
            "gradient": check,
            "cpu seconds per gradient": min(row["seconds"] for row in descent),
            "gradients": len(descent),
        },
    )


if __name__ == "__main__":
    parser = options(__doc__, "results/optimal_switching")
    parser.add_argument("--cells", type=int, default=2, help="along each direction")
    parser.add_argument("--pulse", type=float, default=750.0, help="longest pulse, fs")
    parser.add_argument("--duration", type=float, default=1200.0, help="fs of a trajectory")
    parser.add_argument("--longer", type=float, default=1200.0, help="fs of the last check")
    parser.add_argument("--count", type=int, default=20, help="number of splines")
    parser.add_argument("--gradients", type=int, default=20, help="through the dynamics")
    parser.add_argument(
        "--lengths", type=float, nargs="+", default=[45, 60, 80, 120, 150, 200], help="fs"
    )
    parser.add_argument(
        "--fluences", type=float, nargs="+", help="(MV/cm)^2 ps, rising",
        default=[8, 12, 16, 20, 24],
    )  # fmt: skip
    parser.add_argument("--stretch", type=float, default=1.2, help="of the first pulse")
    parser.add_argument("--start", type=Path, help="optimum.json of a smaller crystal")
    run(main, parser)
