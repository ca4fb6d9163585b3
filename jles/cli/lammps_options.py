"""Options of `jles lammps` besides those that other commands share."""

import argparse

from jles.cli.parser import Parser


def add_inputs(parser: Parser) -> None:
    """Model, input file, elements, total charge, field and Born charges."""
    parser.add_argument("model", metavar="MODEL", help="a model directory")
    parser.add_argument("input", metavar="in.lammps", help="an input file of LAMMPS")
    parser.add_argument(
        "--types",
        metavar="ELEMENT",
        nargs="+",
        help="element of each atom type, in order (default: from the masses)",
    )
    parser.add_argument(
        "--total-charge",
        metavar="Q",
        type=float,
        default=0.0,
        help="of the box, e, for models that see it (default: 0)",
    )
    parser.add_argument(
        "--field",
        metavar=("X", "Y", "Z"),
        nargs=3,
        help="uniform field: numbers (V/angstrom) or equal-style variables of the input file",
    )
    parser.add_argument(
        "--born-charges",
        metavar="STEPS",
        type=int,
        default=0,
        help="compute Born charges, and with them the current, every STEPS steps",
    )


def add_rest(parser: Parser) -> None:
    """The arguments for LAMMPS; the last option, because it takes all that follows."""
    parser.add_argument(
        "--options",
        nargs=argparse.REMAINDER,
        default=[],
        help="all that follows goes to LAMMPS, e.g. --options -var T 300 -log run.log",
    )
