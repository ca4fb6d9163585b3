"""Options of `jles distill`."""

from jles.cli.parser import Parser, add_set


def add_distill(parser: Parser) -> None:
    """Adds teacher, starts, config and directory."""
    parser.add_argument(
        "teacher",
        metavar="TEACHER",
        help="a model directory, or an ASE calculator: its name in ASE, or package.module:name",
    )
    parser.add_argument(
        "start", metavar="START", nargs="+", help="structures, any files ASE reads"
    )
    parser.add_argument("--config", metavar="CONFIG.yaml", help="how to sample, pick and train")
    add_set(parser)
    parser.add_argument(
        "--out", metavar="DIR", default="distill", help="where to write (distill)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue an interrupted distillation"
    )
