"""The state a run starts from: checked, with velocities whose total momentum is zero."""

import numpy as np

from jles.dynamics.config import MdConfig
from jles.dynamics.integrators import degrees_of_freedom
from jles.dynamics.units import BOLTZMANN
from jles.errors import InputError


def read_start(path: str):
    """`ase.Atoms` of a file; `FILE@INDEX` picks a frame as ASE does, the last one by default.

    Raises:
        InputError: the file cannot be read, or more or less than one frame is meant.
    """
    from ase.io import read

    try:
        atoms = read(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:
        # ASE's readers raise anything at all on damaged files.
        line = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: ASE cannot read a structure from it ({line})") from None
    if isinstance(atoms, list):
        raise InputError(f"{path}: {len(atoms)} frames; give the index of one, e.g. FILE@-1")
    return atoms


def check_start(atoms, config: MdConfig) -> None:
    """Refuses what the ensemble or the field cannot be done with.

    Raises:
        InputError: names the key and the reason.
    """
    if len(atoms) == 0:
        raise InputError("start: there are no atoms in it")
    if atoms.constraints:
        raise InputError(
            "start: carries ASE constraints, which jles does not know; remove them"
        )
    if not np.all(atoms.get_masses() > 0.0):
        raise InputError("start: masses of atoms must be positive (u)")
    pbc = " ".join("FT"[int(p)] for p in atoms.pbc)
    if config.ensemble.kind == "npt" and not atoms.pbc.all():
        raise InputError(
            f"ensemble.kind 'npt' needs a crystal, periodic in three directions; pbc is {pbc}"
        )
    if config.displacement is not None and not atoms.pbc.all():
        raise InputError(
            f"displacement: needs a crystal, periodic in three directions; pbc is {pbc}. "
            "Give a field instead"
        )


def initial_momenta(atoms, config: MdConfig) -> np.ndarray:
    """Momenta (internal units, float64) with no total, from the file or drawn.

    Drawn ones are scaled to the temperature exactly.

    Raises:
        InputError: nothing says how fast the atoms are.
    """
    source, temperature = config.velocities.source, config.velocities.temperature
    in_file = bool(np.any(atoms.get_momenta()))
    if source == "file" and not in_file:
        raise InputError("velocities.source is 'file', but the start has no velocities")
    if config.ensemble.kind == "minimise":
        return np.zeros((len(atoms), 3))
    if source == "file" or (source == "auto" and in_file):
        return _without_drift(atoms.get_momenta(), atoms.get_masses())
    if temperature is None:
        temperature = config.ensemble.temperature
    if temperature is None:
        raise InputError(
            "velocities.temperature: is missing (K); the start has no velocities, and 'nve' has "
            "no temperature of its own (0 starts at rest)"
        )
    return draw_momenta(atoms.get_masses(), temperature, config.seed)


def draw_momenta(masses: np.ndarray, temperature: float, seed: int) -> np.ndarray:
    """Maxwell-Boltzmann momenta of exactly this temperature (K), without a total."""
    rng = np.random.default_rng(seed)
    momenta = rng.normal(size=(len(masses), 3)) * np.sqrt(masses)[:, None]
    if len(masses) > 1:
        momenta = _without_drift(momenta, masses)
    twice_kinetic = np.sum(momenta**2 / masses[:, None])
    degrees = degrees_of_freedom(len(masses), True)
    return momenta * np.sqrt(degrees * BOLTZMANN * temperature / twice_kinetic)


def _without_drift(momenta: np.ndarray, masses: np.ndarray) -> np.ndarray:
    return momenta - masses[:, None] * momenta.sum(axis=0) / masses.sum()
