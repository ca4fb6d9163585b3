"""Stochastic processes with known spectra and correlations, and runs on disk made of them."""

import h5py
import numpy as np
from scipy.linalg import expm
from scipy.signal import lfilter


def autoregressive(rng, frames, channels, decay):
    """x_{n+1} = decay x_n + noise, stationary, variance one: correlation decay**k."""
    noise = np.sqrt(1.0 - decay**2) * rng.standard_normal((frames, channels))
    noise[0] = rng.standard_normal(channels)
    return lfilter([1.0], [1.0, -decay], noise, axis=0)


def integral_of_ornstein_uhlenbeck(decay, interval=1.0):
    """Trapezoidal integral of the correlation of one channel of variance one."""
    return interval * (1.0 + decay) / (2.0 * (1.0 - decay))


def oscillator(rng, frames, channels, interval, frequency, damping, variance):
    """Positions and velocities of thermal oscillators dv = -w^2 x - damping v + noise.

    Sampled from the exact transition law; `variance` is that of the velocity, kT/m.
    """
    drift = np.array([[0.0, 1.0], [-(frequency**2), -damping]])
    step = expm(drift * interval)
    covariance = np.diag([variance / frequency**2, variance])
    kick = covariance - step @ covariance @ step.T
    noise = rng.standard_normal((frames, channels, 2)) @ np.linalg.cholesky(kick).T
    noise[0] = rng.standard_normal((channels, 2)) * np.sqrt(np.diag(covariance))
    # Each complex mode of the drift is an autoregressive process of its own.
    values, vectors = np.linalg.eig(step)
    modes = noise @ np.linalg.inv(vectors).T
    first = lfilter([1.0], [1.0, -values[0]], modes[..., 0], axis=0)
    states = 2.0 * np.real(first[..., None] * vectors[:, 0])
    return states[..., 0], states[..., 1]


def velocity_spectrum(angular, frequency, damping, variance):
    """Integral of <v(0) v(t)> exp(-i w t) over all times, for the oscillator above."""
    squared = angular**2
    return (
        2.0
        * damping
        * variance
        * squared
        / ((frequency**2 - squared) ** 2 + damping**2 * squared)
    )


def write_run(
    path,
    records,
    *,
    timestep=1.0,
    numbers=(1,),
    masses=None,
    cell=None,
    temperature=300.0,
    pbc=(True, True, True),
    ensemble="nve",
):
    """A run directory as `jles md` lays it out.

    Args:
        path: the directory.
        records: by group, a dictionary of data sets and `interval` (steps, default 1).
        cell: put beside every record that has none, and with the temperature into `thermo`.
    """
    path.mkdir(parents=True, exist_ok=True)
    cell = 10.0 * np.eye(3) if cell is None else np.asarray(cell, float)
    frames = max((len(next(iter(sets.values()))) for sets in records.values()), default=2)
    thermo = {
        "temperature": np.full(frames, temperature),
        "cell": np.tile(cell, (frames, 1, 1)),
    }
    thermo["field"] = np.zeros((frames, 3))
    with h5py.File(path / "trajectory.h5", "w") as file:
        file.attrs.update(
            format="jles-trajectory", version=1, timestep=timestep, dtype="float64", program="0"
        )
        file.attrs["ensemble"] = ensemble
        file["numbers"] = np.asarray(numbers)
        file["masses"] = np.ones(len(numbers)) if masses is None else np.asarray(masses, float)
        file["pbc"] = np.asarray(pbc)
        for name, sets in {"thermo": thermo, **records}.items():
            _write_group(file.create_group(name), dict(sets), cell)
    return path


def _write_group(group, sets, cell):
    interval = sets.pop("interval", 1)
    frames = len(next(iter(sets.values())))
    if group.name.strip("/") in ("polarization", "positions", "polarizability"):
        sets.setdefault("cell", np.tile(cell, (frames, 1, 1)))
    group.attrs["interval"] = interval
    group["step"] = np.arange(frames, dtype=np.int64) * interval
    for name, values in sets.items():
        group[name] = values
