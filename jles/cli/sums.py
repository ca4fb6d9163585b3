"""Options `--method` and `--accuracy`: how the electrostatic sum of a model is done."""

from argparse import ArgumentParser, Namespace
from typing import get_args

from jles.sum_method import SumMethod


def add_sum(parser: ArgumentParser) -> None:
    """Adds the options to a command that loads a model."""
    parser.add_argument(
        "--method",
        choices=get_args(SumMethod),
        help="electrostatic sum: direct, mesh, or the cheaper one (default: the model's)",
    )
    parser.add_argument(
        "--accuracy",
        metavar="EPS",
        type=float,
        help="relative force error of the mesh (default: the model's)",
    )


def sum_options(arguments: Namespace) -> dict[str, object]:
    """The options that were given, as `jles.load` takes them in `electrostatics`."""
    given = {name: getattr(arguments, name) for name in ("method", "accuracy")}
    return {name: value for name, value in given.items() if value is not None}
