"""The options of `jles analyse`, one parser a kind of analysis; imports nothing heavy."""

import argparse


def add_analyses(kinds) -> None:
    """Adds the parser of every analysis to the subparsers of the command."""
    _add_infrared(kinds)
    _add_raman(kinds)
    _add_vdos(kinds)
    _add_conductivity(kinds)


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


def _add_spectrum(parser) -> None:
    _add_number(parser, "--resolution", "CM-1", 10.0, "width that a sharp line gets")
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
    _add_number(parser, "--laser", "NM", None, "wavelength, for the fourth power; with --stokes")


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
    _add_number(parser, "--window", "FS", None, "end of the Green-Kubo integral (found by itself)")
