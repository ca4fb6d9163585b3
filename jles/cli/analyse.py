"""`jles analyse`: a spectrum, a transport coefficient or a structure from runs of `jles md`."""

from argparse import Namespace
from pathlib import Path

from jles.errors import InputError


def run(arguments: Namespace) -> None:
    """Prints the result; writes a table and a picture."""
    from jles.analysis.outcome import write_outcome
    from jles.analysis.run import open_run

    if not arguments.skip >= 0.0:
        raise InputError(f"--skip must not be negative (ps), got {arguments.skip}")
    runs = [open_run(path, 1e3 * arguments.skip) for path in arguments.runs]
    outcome = ANALYSES[arguments.what](runs, arguments)
    out = Path(arguments.out or Path(arguments.runs[0]) / "analysis")
    print("\n".join(outcome.lines))
    for path in write_outcome(outcome, out):
        print(path)


def _infrared(runs, arguments):
    from jles.analysis.infrared import infrared

    return infrared(
        runs,
        arguments.resolution,
        arguments.highest,
        arguments.correction,
        arguments.scale,
        arguments.temperature,
    )


def _vdos(runs, arguments):
    from jles.analysis.vdos import vibrational_density

    return vibrational_density(runs, arguments.resolution, arguments.highest, arguments.temperature)


def _raman(runs, arguments):
    from jles.analysis.raman import raman

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
    from jles.analysis.conductivity_report import conductivity

    formal = parse_formal(arguments.formal)
    return conductivity(runs, formal, arguments.window, arguments.scale, arguments.temperature)


ANALYSES = {"ir": _infrared, "raman": _raman, "vdos": _vdos, "conductivity": _conductivity}
