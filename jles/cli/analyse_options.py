"""The options of `jles analyse`, one parser a kind of analysis; imports nothing heavy."""

import argparse


def add_analyses(kinds) -> None:
    """Adds the parser of every analysis to the subparsers of the command."""
    _add_infrared(kinds)
    _add_raman(kinds)
    _add_vdos(kinds)
    _add_conductivity(kinds)
    _add_dielectric(kinds)
    _add_hysteresis(kinds)
    _add_order(kinds)
    _add_rdf(kinds)


def _add(kinds, name: str, summary: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=summary, description=summary)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="directories that jles md wrote")
    parser.add_argument("--out", metavar="DIR", help="where to write (RUN/analysis)")
    parser.add_argument(
        "--skip", metavar="PS", type=float, default=0.0, help="time left out at the start"
    )
    return parser


def _add_number(parser, name: str, unit: str, default, text: str) -> None:
    shown = "" if default is None else f" ({default:g})"
    parser.add_argument(name, metavar=unit, type=float, default=default, help=text + shown)


def _add_temperature(parser) -> None:
    _add_number(parser, "--temperature", "K", None, "instead of the mean of the run")


def _add_scale(parser) -> None:
    text = "multiplies dipoles and currents: sqrt(eps_inf) makes latent ones physical"
    _add_number(parser, "--scale", "X", 1.0, text)


def _add_moment(parser) -> None:
    parser.add_argument(
        "--moment",
        choices=("current", "polarization"),
        default="current",
        help="integrate the current where it was recorded, or take the recorded polarization",
    )


def _add_spectrum(parser) -> None:
    _add_number(parser, "--resolution", "CM-1", 20.0, "width that a sharp line gets")
    _add_number(parser, "--highest", "CM-1", 4500.0, "last wavenumber shown")
    _add_temperature(parser)


def _add_infrared(kinds) -> None:
    parser = _add(kinds, "ir", "infrared absorption from the current or the polarization")
    _add_spectrum(parser)
    _add_scale(parser)
    parser.add_argument(
        "--correction",
        choices=("harmonic", "standard", "schofield"),
        default="harmonic",
        help="quantum correction; the classical formula is the harmonic one",
    )


def _add_vdos(kinds) -> None:
    _add_spectrum(_add(kinds, "vdos", "vibrational density of states by element"))


def _add_raman(kinds) -> None:
    parser = _add(kinds, "raman", "Raman spectra (iso, aniso, VV, VH) from the polarizability")
    _add_spectrum(parser)
    _add_scale(parser)
    parser.add_argument(
        "--stokes", action="store_true", help="with the Bose factor of Stokes scattering"
    )
    _add_number(
        parser, "--laser", "NM", None, "wavelength, for the fourth power; with --stokes"
    )


def _add_conductivity(kinds) -> None:
    parser = _add(kinds, "conductivity", "ionic conductivity (Green-Kubo, Einstein), diffusion")
    _add_temperature(parser)
    _add_scale(parser)
    parser.add_argument(
        "--formal",
        metavar="ELEMENT=e",
        nargs="+",
        action="extend",
        default=[],
        help="formal charges of all elements, e.g. O=-2 H=1",
    )
    _add_number(
        parser, "--window", "FS", None, "end of the Green-Kubo integral (found by itself)"
    )


def _add_dielectric(kinds) -> None:
    parser = _add(kinds, "dielectric", "static dielectric constant from the fluctuating dipole")
    _add_temperature(parser)
    _add_scale(parser)
    _add_moment(parser)
    _add_number(parser, "--epsilon-infinity", "EPS", 1.0, "electronic part, added")


def _add_hysteresis(kinds) -> None:
    parser = _add(kinds, "hysteresis", "loop of the polarization in a cycled field")
    _add_moment(parser)
    _add_temperature(parser)
    _add_scale(parser)


def _add_order(kinds) -> None:
    parser = _add(kinds, "order", "polarization and c/a against temperature")
    _add_moment(parser)
    _add_scale(parser)
    parser.add_argument(
        "--stretches", metavar="N", type=int, default=20, help="averages in time a run (20)"
    )
    parser.add_argument(
        "--zero",
        metavar=("X", "Y", "Z"),
        nargs=3,
        type=float,
        default=(0.0, 0.0, 0.0),
        help="recorded polarization of the symmetric structure, e angstrom (0 0 0)",
    )


def _add_rdf(kinds) -> None:
    parser = _add(kinds, "rdf", "radial distributions and coordination numbers by element pair")
    _add_temperature(parser)
    _add_number(parser, "--r-max", "ANGSTROM", None, "last radius (half the cell)")
    _add_number(parser, "--width", "ANGSTROM", 0.05, "of a bin")
    parser.add_argument(
        "--every", metavar="N", type=int, default=1, help="only each N-th frame (1)"
    )
