"""The options of `jles analyse`, one parser per analysis; nothing heavy is imported."""

import argparse


def add_analyses(kinds) -> None:
    """Adds a subparser for every analysis."""
    _add_infrared(kinds)
    _add_raman(kinds)
    _add_vdos(kinds)
    _add_conductivity(kinds)
    _add_dielectric(kinds)
    _add_hysteresis(kinds)
    _add_order(kinds)
    _add_rdf(kinds)
    _add_profile(kinds)


def _add(kinds, name: str, summary: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=summary, description=summary)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="directories written by jles md")
    parser.add_argument("--out", metavar="DIR", help="where to write (RUN/analysis)")
    parser.add_argument(
        "--skip", metavar="PS", type=float, default=0.0, help="time skipped at the start (0)"
    )
    return parser


def _add_number(parser, name: str, unit: str, default, text: str) -> None:
    shown = "" if default is None else f" ({default:g})"
    parser.add_argument(name, metavar=unit, type=float, default=default, help=text + shown)


def _add_temperature(parser) -> None:
    _add_number(parser, "--temperature", "K", None, "temperature (mean of the run)")


def _add_scale(parser) -> None:
    text = "factor of dipoles and currents; sqrt(eps_inf) makes latent ones physical"
    _add_number(parser, "--scale", "X", 1.0, text)


def _add_moment(parser) -> None:
    parser.add_argument(
        "--moment",
        choices=("current", "polarization"),
        default="current",
        help="integrate the recorded current, or take the recorded polarization (current)",
    )


def _add_spectrum(parser) -> None:
    _add_number(
        parser, "--resolution", "CM-1", 20.0, "full width at half maximum of a sharp line"
    )
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
        help="quantum correction; harmonic leaves the classical formula as it is (harmonic)",
    )


def _add_vdos(kinds) -> None:
    _add_spectrum(_add(kinds, "vdos", "vibrational density of states by element"))


def _add_raman(kinds) -> None:
    parser = _add(kinds, "raman", "Raman spectra (iso, aniso, VV, VH) from the polarizability")
    _add_spectrum(parser)
    _add_scale(parser)
    parser.add_argument(
        "--stokes", action="store_true", help="multiply by the Bose factor of Stokes scattering"
    )
    _add_number(
        parser,
        "--laser",
        "NM",
        None,
        "laser wavelength, for the fourth power; implies --stokes",
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
        parser, "--window", "FS", None, "end of the Green-Kubo integral (found automatically)"
    )


def _add_dielectric(kinds) -> None:
    parser = _add(
        kinds, "dielectric", "static dielectric constant from fluctuations of the dipole"
    )
    _add_temperature(parser)
    _add_scale(parser)
    _add_moment(parser)
    _add_number(
        parser, "--epsilon-infinity", "EPS", 1.0, "electronic dielectric constant, added"
    )


def _add_hysteresis(kinds) -> None:
    parser = _add(kinds, "hysteresis", "hysteresis loop of the polarization in a cycled field")
    _add_moment(parser)
    _add_temperature(parser)
    _add_scale(parser)


def _add_order(kinds) -> None:
    parser = _add(kinds, "order", "polarization and c/a against temperature")
    _add_moment(parser)
    _add_scale(parser)
    parser.add_argument(
        "--stretches",
        metavar="N",
        type=int,
        default=20,
        help="averages in time per run (20)",
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
    parser = _add(
        kinds, "rdf", "radial distributions and coordination numbers by pair of elements"
    )
    _add_temperature(parser)
    _add_number(parser, "--r-max", "ANGSTROM", None, "last radius (half the smallest height)")
    _add_number(parser, "--width", "ANGSTROM", 0.05, "width of a bin")
    parser.add_argument(
        "--every", metavar="N", type=int, default=1, help="use every N-th frame (1)"
    )


def _add_profile(kinds) -> None:
    parser = _add(kinds, "profile", "densities, latent potential and field across an interface")
    _add_temperature(parser)
    parser.add_argument(
        "--axis",
        choices=("a", "b", "c"),
        default="c",
        help="cell vector along which the profiles run (c)",
    )
    _add_number(parser, "--width", "ANGSTROM", 0.25, "width of a layer")
    _add_number(parser, "--sigma", "ANGSTROM", 1.0, "smearing width of the model")
