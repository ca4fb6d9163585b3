"""Options of `jles data`."""

import argparse


def add_data_check(kinds) -> None:
    """Adds `check` to the subparsers of `jles data`."""
    summary = "units, duplicates, broken frames and labels of a data set"
    parser = kinds.add_parser("check", help=summary, description=summary)
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="labelled structures, any files ASE reads; or directories of shards, whose "
        "checksums are compared",
    )
    add_labels(parser)
    parser.add_argument("-o", "--out", metavar="PICTURE.png", help="picture to write")


def add_data_build(kinds) -> None:
    """Adds `build` to the subparsers of `jles data`."""
    summary = "write a data set as shards, which training reads piece by piece"
    parser = kinds.add_parser("build", help=summary, description=summary)
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="labelled structures: any files ASE reads, databases of ASE (.db, .aselmdb), HDF5",
    )
    add_labels(parser)
    parser.add_argument(
        "-o", "--out", metavar="DIR", required=True, help="directory to write; must not exist"
    )
    parser.add_argument(
        "--cutoff",
        metavar="ANGSTROM",
        nargs="+",
        type=float,
        help="cutoffs for which neighbours are counted; 4 4.5 5 5.5 6 by default",
    )
    parser.add_argument(
        "--shard-size",
        metavar="MIB",
        type=int,
        default=64,
        help="approximate size of a shard (64)",
    )


def add_labels(parser) -> None:
    """Adds `--labels`."""
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


def _label(text: str) -> tuple[str, str]:
    name, equals, key = text.partition("=")
    if not (name and equals and key):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=KEY")
    return name, key
