"""A parser whose slow arguments are added when they are needed, and a shared option."""

import argparse
import re
from collections.abc import Iterable
from typing import NoReturn

from jles.suggestions import did_you_mean

_NEGATIVE = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
"""Arguments that are numbers and no options, such as -1e-3."""


class Parser(argparse.ArgumentParser):
    """A parser that adds arguments from `late` when its command is parsed.

    `late` may import what is too slow to import for other commands. An unknown option is an
    error of the command that it was given to.
    """

    late = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # That of Python below 3.14 knows no exponents.
        self._negative_number_matcher = _NEGATIVE

    def parse_known_args(self, *args, **kwargs):
        """As in argparse, after the late arguments were added; unknown ones are an error."""
        self.add_late()
        found, unknown = super().parse_known_args(*args, **kwargs)
        if unknown:
            near = _nearest(unknown, self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line, without the usage that argparse prints."""
        help_ = "" if message.endswith("?") else f"; see {self.prog} --help"
        self.exit(2, f"{self.prog}: error: {message}{help_}\n")

    def _check_value(self, action, value) -> None:
        if action.choices is not None and value not in action.choices:
            near = _nearest([value], action.choices)
            known = "" if near else f"; choose one of {', '.join(map(str, action.choices))}"
            raise argparse.ArgumentError(action, f"unknown value '{value}'{near or known}")

    def add_late(self) -> None:
        """Adds the late arguments, once."""
        late, self.late = self.late, None
        if late:
            late(self)

    def subcommands(self) -> dict[str, "Parser"]:
        """Parsers of the commands below this one, by name."""
        found = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= action.choices
        return found


def _nearest(names: Iterable[str], known: Iterable[str]) -> str:
    """A question for the first of the names that is close to a known one."""
    questions = (did_you_mean(name, known) for name in names)
    return next((f"; {question}" for question in questions if question), "")


def add_everything(parser: Parser) -> Parser:
    """The parser, with the late arguments of all its commands."""
    parser.add_late()
    for command in parser.subcommands().values():
        add_everything(command)
    return parser


def add_set(parser: argparse.ArgumentParser) -> None:
    """The option `--set` of commands that read a config."""
    parser.add_argument(
        "--set",
        metavar="a.b=value",
        nargs="+",
        action="extend",
        default=[],
        help="override keys of the config",
    )
