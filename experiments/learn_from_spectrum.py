"""Learning from an observable: a latent-charge model from its infrared band.

Run:     python experiments/learn_from_spectrum.py --out results/learn_from_spectrum
Needs:   no data; one core, some minutes.
Writes:  learning.png (bands before, after, target; parameters on the way) and results.json.
Expect:  the charges within 5 %: the intensity of a mode of n molecules scatters by 1/sqrt(n),
         10 %. The force constants within some percent: 150 fs resolve some 300 1/cm.

Water dimers: harmonic bonds and angles, Lennard-Jones between the O, and a small jles model
whose latent charges interact and carry the dipole. The target is made with known parameters.
Wrong force constants and charges are then adjusted, with other random numbers in the Langevin
dynamics that brings each trajectory to 100 K. The band is the Fourier transform of the
autocorrelation of the dipole current, and the gradient of the loss goes through the dynamics.
No force, energy, charge or position of the target is used. The loss compares running integrals
of the bands over the wavenumber: a shifted band is then nearer than one that is shifted
further, even where the two do not overlap.
"""

import time
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ase import Atoms
from common import options, run, write_results
from jax_md import simulate as jax_md_simulate

from jles.dynamics.differentiable import simulate, velocity_verlet
from jles.dynamics.integrators import shift
from jles.dynamics.units import BOLTZMANN, FEMTOSECOND, PICOSECOND
from jles.models.potential import build_potential
from jles.pictures import PALETTE, new_figure, save_figure

TIMESTEP, TEMPERATURE = 0.5, 100.0
SETTLING, FRICTION = 100, 100.0 / PICOSECOND
"""Steps of Langevin dynamics before a trajectory, and its friction."""
LENGTH, ANGLE = 0.97, np.deg2rad(106.0)
BONDS = np.array([[0, 1], [0, 2], [3, 4], [3, 5]])
ANGLES = np.array([[1, 0, 2], [4, 3, 5]])
SIGMA, EPSILON = 3.15, 0.0066
HIGHEST = 4500.0
"""1/cm."""
TRUE = {"bond": 45.0, "angle": 4.0, "charges": 1.0}
WRONG = {"bond": 40.0, "angle": 3.4, "charges": 0.6}
"""Force constants, eV/angstrom^2 and eV; factor on the latent charges."""
OXYGEN, SLOPE = -0.4, 0.25
"""Charge of O at equilibrium, e; of H per length of its bond, e/angstrom."""
CONFIG = {
    "elements": ["H", "O"],
    "backbone": {
        "cutoff": 3.5, "n_rbf": 4, "n_radial_basis": 3, "n_atom_basis": 2, "l_max": 0,
        "body_order": 1,
    },
    "charges": {"hidden": []},
}  # fmt: skip


def dimer() -> Atoms:
    """Two water molecules with a hydrogen bond."""
    half = 0.5 * ANGLE
    arms = LENGTH * np.array(
        [[np.cos(half), np.sin(half), 0], [np.cos(half), -np.sin(half), 0]]
    )
    donor = np.vstack([np.zeros(3), arms])
    turn = -half
    rotation = np.array(
        [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    donor = donor @ rotation
    acceptor = np.vstack([np.zeros(3), arms[:, [0, 2, 1]]]) + [2.85, 0.0, 0.0]
    return Atoms("OHHOHH", np.vstack([donor, acceptor]))


class Water:
    """The dimer's energy and dipole as functions of the parameters."""

    def __init__(self):
        self.atoms = dimer()
        self.potential = build_potential(CONFIG)
        self.structure = self.potential.structure(self.atoms, dtype="float32")
        self.masses = jnp.float32(self.atoms.get_masses())
        self.params = self.with_charges(self.potential.init(jax.random.key(0), jnp.float32))

    def energy(self, values, positions):
        """Bonds, angles and Lennard-Jones of the O, and the energy of the model, eV."""
        ends = positions[BONDS]
        lengths = jnp.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        first, middle, last = (positions[ANGLES[:, n]] for n in range(3))
        one, other = first - middle, last - middle
        cosines = jnp.sum(one * other, axis=1)
        cosines /= jnp.linalg.norm(one, axis=1) * jnp.linalg.norm(other, axis=1)
        x = (SIGMA / jnp.linalg.norm(positions[0] - positions[3])) ** 6
        bonded = 0.5 * values["bond"] * jnp.sum((lengths - LENGTH) ** 2)
        bonded += 0.5 * values["angle"] * jnp.sum((jnp.arccos(cosines) - ANGLE) ** 2)
        moved = replace(self.structure, positions=positions)
        model = self.potential.energy_fn(self.scaled(values), moved)
        return bonded + 4.0 * EPSILON * (x**2 - x) + model

    def dipole(self, values, positions):
        moved = replace(self.structure, positions=positions)
        return self.potential.dipole_fn(self.scaled(values), moved)

    def scaled(self, values):
        """Parameters of the model with its charges scaled; their read-out is linear."""
        head = jax.tree.map(lambda leaf: values["charges"] * leaf, self.params["charges"])
        return self.params | {"charges": head}

    def with_charges(self, params):
        """Parameters whose charges are those of `OXYGEN` and `SLOPE`."""
        places = self.structure.positions
        shaken = places + 0.06 * jax.random.normal(jax.random.key(5), (64, *places.shape))

        def wanted(positions):
            ends = positions[BONDS]
            stretch = jnp.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) - LENGTH
            hydrogen = -0.5 * OXYGEN + SLOPE * stretch
            charges = jnp.zeros(6).at[BONDS[:, 1]].set(hydrogen)
            return charges.at[BONDS[:, 0]].add(-hydrogen)

        def found(head, positions):
            moved = replace(self.structure, positions=positions)
            return self.potential.charges_fn(params | {"charges": head}, moved)[:, 0]

        def miss(head):
            charges = jax.vmap(partial(found, head))(shaken)
            return jnp.mean((charges - jax.vmap(wanted)(shaken)) ** 2)

        head = descend(miss, params["charges"], 1500, 0.05)
        print(f"charges of the model: RMSE {np.sqrt(miss(head)):.3f} e", flush=True)
        return params | {"charges": head}

    def currents(self, values, keys, steps: int):
        """Dipole current of dimers at every step, (dimers, steps, 3), e angstrom/fs.

        Each dimer is first brought to the temperature by a strong thermostat.
        """

        def of_one(key):
            energy = partial(self.energy, values)
            warm, apply = jax_md_simulate.nvt_langevin(
                energy, shift, TIMESTEP * FEMTOSECOND, BOLTZMANN * TEMPERATURE, FRICTION
            )
            state = warm(key, self.structure.positions, mass=self.masses)
            state, _ = simulate(apply, state, SETTLING, TIMESTEP)
            velocities = state.momentum / state.mass * FEMTOSECOND

            init, apply = velocity_verlet(energy, self.masses, TIMESTEP)
            state = init(state.position, velocities)

            def dipole(state):
                return self.dipole(values, state.position)

            _, dipoles = simulate(apply, state, steps, TIMESTEP, observe=dipole)
            return (dipoles[1:] - dipoles[:-1]) / TIMESTEP

        return jax.vmap(of_one)(keys)


def autocorrelation(currents, lags: int):
    """Mean of J(0) . J(t) over dimers and times, at the lags 0 ... lags - 1."""
    steps = currents.shape[1]
    power = jnp.abs(jnp.fft.rfft(currents, 2 * steps, axis=1)) ** 2
    sums = jnp.fft.irfft(power, 2 * steps, axis=1)[:, :lags].sum(axis=(0, 2))
    return sums / (len(currents) * (steps - jnp.arange(lags)))


def band(correlation):
    """Infrared band of an autocorrelation up to `HIGHEST`, and its wavenumbers (1/cm)."""
    window = jnp.cos(0.5 * jnp.pi * jnp.arange(len(correlation)) / len(correlation)) ** 2
    padded = jnp.pad(correlation * window, (0, 3 * len(correlation)))
    wavenumbers = np.fft.rfftfreq(2 * len(padded) - 1, TIMESTEP) * 33356.41
    values = jnp.fft.rfft(jnp.concatenate([padded, padded[:0:-1]])).real
    count = int(np.sum(wavenumbers < HIGHEST))
    return wavenumbers[:count], values[:count]


def descend(loss, first, updates: int, rate: float, report=lambda value, params: None):
    """Parameters after updates by Adam; `report` gets the loss and the parameters of each."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, updates, 0.1))

    @jax.jit
    def update(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, change), state, value

    params, state = first, optimizer.init(first)
    for _ in range(updates):
        after, state, value = update(params, state)
        report(float(value), params)
        params = after
    return params


def distance(found, target):
    """Mean square difference of two running integrals of bands, relative to the target."""
    return jnp.mean(jnp.cumsum(found - target) ** 2) / jnp.mean(jnp.cumsum(target) ** 2)


def learn(water: Water, target, keys, chosen) -> tuple[dict, list[dict]]:
    """The values after matching the target, and the way there."""
    way = []
    # Logarithms, so that one rate suits all.
    logarithms = {name: jnp.log(jnp.float32(value)) for name, value in WRONG.items()}

    def loss(logarithms):
        values = jax.tree.map(jnp.exp, logarithms)
        found = autocorrelation(water.currents(values, keys, chosen.steps), chosen.lags)
        return distance(band(found)[1], target)

    def report(value, logarithms):
        row = {name: float(jnp.exp(part)) for name, part in logarithms.items()}
        way.append(row | {"loss": value})
        if len(way) % 10 == 1:
            print(way[-1], flush=True)

    logarithms = descend(loss, logarithms, chosen.updates, chosen.rate, report)
    return jax.tree.map(jnp.exp, logarithms), way


def draw(wavenumbers, bands: dict, way: list[dict], file) -> None:
    """Bands, and the parameters on the way relative to the true ones."""
    figure, (spectra, parameters) = new_figure(4.8, 3.6, columns=2)
    styles = {"start": PALETTE[1], "learned": PALETTE[0], "target": "0.3"}
    for name, color in styles.items():
        line = "--" if name == "target" else "-"
        spectra.plot(wavenumbers, bands[name], line, color=color, label=name)
    spectra.set(xlabel="wavenumber (1/cm)", ylabel="infrared band (arb. units)")
    spectra.legend(frameon=False, fontsize=8)
    labels = {"bond": "bond", "angle": "angle", "charges": "charges"}
    for (name, label), color in zip(labels.items(), PALETTE, strict=False):
        ratio = [row[name] / TRUE[name] for row in way]
        parameters.plot(ratio, color=color, label=label)
    parameters.axhline(1.0, color="0.6", linewidth=0.8, linestyle="--", zorder=0.9)
    parameters.set(xlabel="update", ylabel="parameter / true one")
    parameters.legend(frameon=False, fontsize=8)
    save_figure(figure, file)


def main(chosen):
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.smoke:
        chosen.dimers, chosen.steps, chosen.lags, chosen.updates = 2, 60, 40, 2
    water = Water()
    currents = jax.jit(partial(water.currents, steps=chosen.steps))
    keys = [jax.random.split(jax.random.key(seed), chosen.dimers) for seed in (1, 2)]

    def band_of(values, keys):
        return band(autocorrelation(currents(values, keys), chosen.lags))

    wavenumbers, target = band_of(TRUE, keys[0])
    begun = time.process_time()
    learned, way = learn(water, target, keys[1], chosen)
    seconds = time.process_time() - begun

    sets = {"start": WRONG, "learned": learned, "same parameters": TRUE}
    bands = {name: band_of(values, keys[1])[1] for name, values in sets.items()}
    draw(wavenumbers, bands | {"target": target}, way, chosen.out / "learning.png")
    miss = {name: float(distance(values, target)) for name, values in bands.items()}
    write_results(
        chosen.out,
        {
            "true": TRUE,
            "start": WRONG,
            "learned": {name: float(value) for name, value in learned.items()},
            "loss": miss,
            "cpu seconds": seconds,
            "updates": len(way),
        },
    )


if __name__ == "__main__":
    parser = options(__doc__, "results/learn_from_spectrum")
    parser.add_argument("--dimers", type=int, default=48, help="trajectories at a time")
    parser.add_argument("--steps", type=int, default=300, help="of 0.5 fs")
    parser.add_argument("--lags", type=int, default=150, help="of the autocorrelation")
    parser.add_argument("--updates", type=int, default=100, help="of the parameters")
    parser.add_argument("--rate", type=float, default=0.03, help="of learning")
    run(main, parser)
