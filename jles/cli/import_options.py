"""Options of `jles import-torch`."""

from argparse import ArgumentParser


def add_import_torch(parser: ArgumentParser) -> None:
    """The checkpoint, where to write the model, and what the file lacks or has wrong."""
    parser.add_argument("checkpoint", metavar="FILE", help="CACE-LES .pth, MACE .model")
    parser.add_argument(
        "-o", "--out", metavar="MODEL", required=True, help="directory to write"
    )
    parser.add_argument(
        "--offsets",
        metavar="ELEMENT=eV",
        nargs="+",
        action="extend",
        default=[],
        help="element energies; CACE-LES files contain none, e.g. H=-5.853 O=-2.927",
    )
    parser.add_argument(
        "--long-range-weight",
        type=float,
        metavar="W",
        help="factor of the long-range energy (default: that of the file)",
    )
