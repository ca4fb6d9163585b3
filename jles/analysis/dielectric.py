r"""Static dielectric constant from the fluctuation of the dipole of the cell.

With conducting ("tin foil") boundaries, which a lattice sum without k = 0 has (de Leeuw, Perram,
Smith, Proc. R. Soc. A 373, 27 (1980); Neumann, Mol. Phys. 50, 841 (1983)),

.. math:: \epsilon = \epsilon_\infty +
    \frac{<P\cdot P> - <P>\cdot<P>}{3\,\epsilon_0 V k T},
    \qquad
    \epsilon_{ab} = \epsilon_\infty\delta_{ab} + \frac{<P_a P_b> - <P_a><P_b>}{\epsilon_0 V k T}.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jles.analysis.blocks import block_average
from jles.analysis.conditions import Conditions, conditions, describe, same_interval
from jles.analysis.moment import agreement, polarization_path
from jles.analysis.outcome import Outcome, draw_band
from jles.analysis.run import Run
from jles.analysis.transport import Estimate, estimate
from jles.analysis.units import BOLTZMANN
from jles.errors import InputError
from jles.units import EPSILON0

_POINTS = 400


class Fluctuation(NamedTuple):
    """The part of the dielectric constant that the atoms' motion makes."""

    mean: Estimate
    """A third of the trace."""
    tensor: Estimate
    """(3, 3)"""


def susceptibility_unit(state: Conditions) -> float:
    """Dielectric constant per (e angstrom)^2 of the variance of one component."""
    return 1.0 / (EPSILON0 * state.volume * BOLTZMANN * state.temperature)


def fluctuation(
    dipoles: Sequence[Float[np.ndarray, "frames 3"]], state: Conditions
) -> Fluctuation:
    """Variance of the dipole (e angstrom) of one or more runs, in units of the susceptibility.

    Each run has its own mean, on a branch of its own; what the mean takes from the variance, its
    own squared error, is put back. Errors by blocking the squared deviations.
    """
    unit = susceptibility_unit(state)
    products = [np.einsum("fa,fb->fab", *[_deviations(d)] * 2) for d in dipoles]
    products = [
        part + np.diag(block_average(dipole).error ** 2)
        for part, dipole in zip(products, dipoles, strict=True)
    ]
    traces = [np.trace(part, axis1=1, axis2=2) / 3.0 for part in products]
    return Fluctuation(estimate(traces).scaled(unit), estimate(products).scaled(unit))


def running_fluctuation(
    dipole: Float[np.ndarray, "frames 3"], state: Conditions
) -> Float[np.ndarray, " frames"]:
    """The susceptibility from the frames up to each one, the mean being that up to there."""
    count = np.arange(1, len(dipole) + 1)
    start = dipole - dipole[0]
    mean = np.cumsum(start, axis=0) / count[:, None]
    square = np.cumsum(np.sum(start**2, axis=1)) / count
    return susceptibility_unit(state) * (square - np.sum(mean**2, axis=1)) / 3.0


def dielectric(
    runs: Sequence[Run],
    epsilon_infinity: float = 1.0,
    scale: float = 1.0,
    temperature: float | None = None,
    source: str = "current",
) -> Outcome:
    """Static dielectric constant of runs in equilibrium without a field.

    Args:
        runs: with the current recorded, which is integrated, or else the polarization.
        epsilon_infinity: of the electrons, added to the fluctuation of the atoms.
        scale: what the recorded dipole is multiplied with, sqrt(eps_inf) for latent charges.
        temperature: K; the mean of the runs if absent.
        source: of the dipole, as for `moment.polarization_path`.
    """
    if not epsilon_infinity >= 1.0:
        raise InputError(f"--epsilon-infinity must be at least 1, got {epsilon_infinity}")
    for run in runs:
        if run.has("thermo") and np.any(run.read("thermo", "field").values):
            raise InputError(
                f"{run.path}: was run in a field; the fluctuation that gives epsilon is that "
                "without one"
            )
    moments = [polarization_path(run, source) for run in runs]
    records = [moment.record for moment in moments]
    interval = same_interval(records, runs)
    state = conditions(runs, temperature)
    dipoles = [scale * record.values for record in records]
    found = fluctuation(dipoles, state)
    value = found.mean._replace(value=found.mean.value + epsilon_infinity)
    title = describe(runs, records, state.temperature)
    lines = [
        f"static dielectric constant, {title}",
        f"epsilon = {value}, of which {epsilon_infinity:g} from the electrons",
        *(line for run in runs for line in agreement(run)),
        *(_axis_line(found.tensor, axis, epsilon_infinity) for axis in range(3)),
    ]
    curves = [
        _thinned(running_fluctuation(d, state) + epsilon_infinity, interval) for d in dipoles
    ]
    columns = {
        "run": np.concatenate([np.full(len(t), str(n)) for n, (t, _) in enumerate(curves)]),
        "time (ps)": np.concatenate([times for times, _ in curves]),
        "running epsilon (1)": np.concatenate([values for _, values in curves]),
    }
    return Outcome("dielectric", columns, lines, draw_running(curves, value, title))


def draw_running(curves, value: Estimate, title: str):
    """Running estimates of the runs and the final one with its error."""
    from jles.pictures import ACCENT, INK, PALETTE, new_figure

    figure, (axis,) = new_figure(5.6, 3.8)
    for number, (times, values) in enumerate(curves):
        name = None if len(curves) == 1 else f"run {number}"
        axis.plot(
            times, values, color=PALETTE[number % len(PALETTE)], linewidth=1.2, label=name
        )
    ends = np.array([0.0, max(times[-1] for times, _ in curves)])
    mean, error = np.full(2, value.value), np.full(2, value.error)
    color = ACCENT if len(curves) == 1 else INK
    draw_band(axis, ends, mean, error, color, f"ε = {value.value:.4g} ± {value.error:.2g}")
    axis.set(xlabel="time averaged over (ps)", ylabel="dielectric constant", xlim=tuple(ends))
    axis.set_ylim(bottom=0.0)
    axis.legend(frameon=False, loc="lower right")
    axis.set_title(f"Static dielectric constant: {title}", fontsize=9)
    return figure


def _deviations(dipole):
    return dipole - np.mean(dipole, axis=0)


def _axis_line(tensor: Estimate, axis: int, epsilon_infinity: float) -> str:
    value = Estimate(
        tensor.value[axis, axis] + epsilon_infinity, tensor.error[axis, axis], tensor.converged
    )
    return f"  {'xyz'[axis] * 2}: {value}"


def _thinned(values, interval: float) -> tuple:
    """Times in ps and values, few enough for a table, the last among them."""
    kept = np.unique(np.linspace(0, len(values) - 1, _POINTS).round().astype(int))
    return 1e-3 * interval * kept, values[kept]
