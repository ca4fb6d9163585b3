"""`jles analyse`: spectra, transport coefficients and structure from runs of `jles md`."""

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from jles.errors import InputError
from jles.lock import only_writer

_POSITIVE = {
    "temperature": "K",
    "resolution": "cm^-1",
    "highest": "cm^-1",
    "laser": "nm",
    "window": "fs",
    "r_max": "angstrom",
    "width": "angstrom",
    "sigma": "angstrom",
}
"""Options that must be positive, and their units."""

_LARGEST_SCALE = 1e6


def run(arguments: Namespace) -> None:
    """Prints the result; writes a table and a picture."""
    from jles.analysis.reports.outcome import write_outcome
    from jles.analysis.run import open_run

    check_options(arguments)
    check_runs(arguments.runs)
    runs = [open_run(path, 1e3 * arguments.skip) for path in arguments.runs]
    outcome = ANALYSES[arguments.what](runs, arguments)
    out = Path(arguments.out or Path(arguments.runs[0]) / "analysis")
    with only_writer(out):
        paths = write_outcome(outcome, out)
    print("\n".join([*outcome.lines, *map(str, paths)]))


def check_runs(paths: Sequence[str]) -> None:
    """Refuses a run that is given twice; it would count as two independent ones."""
    given: dict[Path, str] = {}
    for path in paths:
        place = Path(path).resolve()
        if place in given:
            raise InputError(f"{path}: the same run as {given[place]}; give every run once")
        given[place] = path


def check_options(arguments: Namespace) -> None:
    """Refuses numbers that have no meaning.

    Raises:
        InputError: names the option and its value.
    """
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    if not 0.0 <= arguments.skip < math.inf:
        raise InputError(f"--skip must not be negative (ps), got {arguments.skip}")
    for name, unit in _POSITIVE.items():
        if name in given and not 0.0 < given[name] < math.inf:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} {given[name]:g}: must be positive ({unit})")
    if not 0.0 < abs(given.get("scale", 1.0)) <= _LARGEST_SCALE:
        raise InputError(
            f"--scale must be a number up to {_LARGEST_SCALE:g}, not 0, got {given['scale']}"
        )
    if given.get("highest", math.inf) < given.get("resolution", 0.0):
        raise InputError(
            f"--highest {given['highest']:g} is below --resolution {given['resolution']:g} "
            "(cm^-1): nothing to show; take a larger one"
        )


def _infrared(runs, arguments):
    from jles.analysis.reports.infrared import infrared

    return infrared(
        runs,
        arguments.resolution,
        arguments.highest,
        arguments.correction,
        arguments.scale,
        arguments.temperature,
    )


def _vdos(runs, arguments):
    from jles.analysis.reports.vdos import vibrational_density

    return vibrational_density(
        runs, arguments.resolution, arguments.highest, arguments.temperature
    )


def _raman(runs, arguments):
    from jles.analysis.reports.raman import raman

    return raman(
        runs,
        arguments.resolution,
        arguments.highest,
        arguments.stokes,
        arguments.laser,
        arguments.scale,
        arguments.temperature,
    )


def _conductivity(runs, arguments):
    from jles.analysis.charge_flow import parse_formal
    from jles.analysis.reports.conductivity import conductivity

    formal = parse_formal(arguments.formal)
    return conductivity(runs, formal, arguments.window, arguments.scale, arguments.temperature)


def _dielectric(runs, arguments):
    from jles.analysis.reports.dielectric import dielectric

    return dielectric(
        runs,
        arguments.epsilon_infinity,
        arguments.scale,
        arguments.temperature,
        arguments.moment,
    )


def _hysteresis(runs, arguments):
    from jles.analysis.reports.hysteresis import hysteresis

    return hysteresis(runs, arguments.scale, arguments.temperature, arguments.moment)


def _order(runs, arguments):
    from jles.analysis.reports.order import order_parameter

    return order_parameter(
        runs, arguments.stretches, arguments.scale, tuple(arguments.zero), arguments.moment
    )


def _rdf(runs, arguments):
    from jles.analysis.reports.rdf import radial_distributions

    return radial_distributions(
        runs, arguments.r_max, arguments.width, arguments.every, arguments.temperature
    )


def _profile(runs, arguments):
    from jles.analysis.reports.profile import profiles

    return profiles(
        runs,
        "abc".index(arguments.axis),
        arguments.width,
        arguments.sigma,
        arguments.temperature,
    )


ANALYSES = {
    "ir": _infrared,
    "raman": _raman,
    "vdos": _vdos,
    "conductivity": _conductivity,
    "dielectric": _dielectric,
    "hysteresis": _hysteresis,
    "order": _order,
    "rdf": _rdf,
    "profile": _profile,
}
