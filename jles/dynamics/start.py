"""Initial state of a run: checks of the structure, its place, and momenta whose sum is zero."""

from typing import NamedTuple

import numpy as np

from jles.dynamics.config import MdConfig
from jles.dynamics.units import BOLTZMANN
from jles.electrostatics.sums.slab import open_middle
from jles.errors import InputError
from jles.jax_md.chains import degrees_of_freedom
from jles.lattice import inverse, reduction
from jles.models.state_config import SAME_CHARGE


def check_start(atoms, config: MdConfig) -> None:
    """Checks that the structure suits the ensemble and the field.

    Raises:
        InputError: names the key and the reason.
    """
    if len(atoms) == 0:
        raise InputError("start: has no atoms; give a structure with at least one")
    if atoms.constraints:
        raise InputError(
            "start: carries ASE constraints, which jles does not support; remove them"
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


def check_charge(charge: float, config: MdConfig) -> None:
    """Refuses a thermostat that would take the drift of a charged system in a field for heat.

    The field accelerates the whole system by Q E / M. Nosé-Hoover chains cool this motion with
    the others; the friction of Langevin dynamics limits it to Q E / (M friction).

    Args:
        charge: total charge Q, e.
        config: of the run.

    Raises:
        InputError: names the ensemble that suits.
    """
    drives = config.displacement is not None or (config.field and config.field.strength > 0.0)
    if drives and abs(charge) > SAME_CHARGE and config.ensemble.kind in ("nose-hoover", "npt"):
        raise InputError(
            f"ensemble.kind '{config.ensemble.kind}': the field accelerates a total charge of "
            f"{charge:g} e, and this thermostat takes the drift for heat; take 'langevin'"
        )


class Place(NamedTuple):
    """How the cells and positions of the files follow from those of a run.

    Attributes:
        turn: integers (3, 3); the cells of the files are `turn @ cell`.
        origin: angstrom, (3,); the positions of the files are `positions + origin`.
    """

    turn: np.ndarray
    origin: np.ndarray

    def cell(self, cells: np.ndarray) -> np.ndarray:
        """Cells (..., 3, 3) of the files."""
        return (self.turn @ cells).astype(cells.dtype)

    def positions(self, positions: np.ndarray) -> np.ndarray:
        """Positions (..., 3) of the files."""
        return (positions + self.origin).astype(positions.dtype)


def placed(atoms):
    """The atoms as they are computed: a short cell, and open directions near the origin.

    Returns:
        `ase.Atoms` with a reduced cell and with `open_middle` at the origin, where float32 has
        more digits, and the `Place` that leads back to `atoms`.
    """
    turn = reduction(atoms.cell.array, atoms.pbc) if atoms.pbc.any() else np.eye(3, dtype=int)
    origin = open_middle(atoms.positions, atoms.cell.array, np.flatnonzero(~atoms.pbc))
    inside = atoms.copy()
    inside.set_cell(turn @ atoms.cell.array)
    inside.positions -= origin
    return inside, Place(inverse(turn), origin)


def initial_momenta(atoms, config: MdConfig) -> np.ndarray:
    """Momenta whose sum is zero, from the file or drawn; internal units, float64.

    Drawn momenta are scaled to the exact temperature.

    Raises:
        InputError: there are neither velocities nor a temperature to draw them from.
    """
    if config.velocities.source == "file" and not _has_velocities(atoms):
        raise InputError("velocities.source is 'file', but the start has no velocities")
    if config.ensemble.kind == "minimise":
        return np.zeros((len(atoms), 3))
    if _keeps_velocities(atoms, config):
        return _without_drift(atoms.get_momenta(), atoms.get_masses())
    temperature = _drawn_temperature(config)
    if temperature is None:
        raise InputError(
            "velocities: the start has none, and ensemble kind 'nve' has no temperature; set "
            "velocities.temperature (K; 0 starts at rest)"
        )
    return draw_momenta(atoms.get_masses(), temperature, config.seed)


def choice_of_velocities(atoms, config: MdConfig) -> str | None:
    """A line that says which velocities `source: auto` takes; None if there is no choice."""
    automatic = config.velocities.source == "auto" and config.ensemble.kind != "minimise"
    if not (automatic and _has_velocities(atoms)):
        return None
    if _keeps_velocities(atoms, config):
        return "velocities: those of the start"
    return f"velocities: drawn at {_drawn_temperature(config):g} K, not those of the start"


def _keeps_velocities(atoms, config: MdConfig) -> bool:
    """Whether a run starts with the velocities of the file."""
    if config.velocities.source == "auto":
        return _has_velocities(atoms) and config.velocities.temperature is None
    return config.velocities.source == "file"


def _has_velocities(atoms) -> bool:
    return bool(np.any(atoms.get_momenta()))


def _drawn_temperature(config: MdConfig) -> float | None:
    given = config.velocities.temperature
    return config.ensemble.temperature if given is None else given


def draw_momenta(masses: np.ndarray, temperature: float, seed: int) -> np.ndarray:
    """Maxwell-Boltzmann momenta of exactly this temperature (K) whose sum is zero."""
    rng = np.random.default_rng(seed)
    momenta = rng.normal(size=(len(masses), 3)) * np.sqrt(masses)[:, None]
    if len(masses) > 1:
        momenta = _without_drift(momenta, masses)
    twice_kinetic = np.sum(momenta**2 / masses[:, None])
    degrees = degrees_of_freedom(len(masses), True)
    return momenta * np.sqrt(degrees * BOLTZMANN * temperature / twice_kinetic)


def _without_drift(momenta: np.ndarray, masses: np.ndarray) -> np.ndarray:
    return momenta - masses[:, None] * momenta.sum(axis=0) / masses.sum()
