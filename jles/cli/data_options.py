"""Options of `jles data`."""

import argparse


def add_data_check(kinds) -> None:
    """Adds `check` to the subparsers of `jles data`."""
    summary = "units, duplicates, broken frames and labels of a data set"
    parser = kinds.add_parser("check", help=summary, description=summary)
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="labelled structures, any files ASE reads"
    )
    parser.add_argument(
        "--labels",
        metavar="NAME=KEY",
        nargs="+",
        action="extend",
        type=_label,
        default=[],
        help="names of labels in the files, as data.labels of a training file, "
        "e.g. energy=REF_energy",
    )
    parser.add_argument("-o", "--out", metavar="PICTURE.png", help="picture to write")


def _label(text: str) -> tuple[str, str]:
    name, equals, key = text.partition("=")
    if not (name and equals and key):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=KEY")
    return name, key
