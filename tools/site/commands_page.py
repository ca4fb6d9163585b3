"""The page of the command line, from the parsers."""

import argparse
import textwrap

from jles.cli.main import build_parser
from jles.cli.parser import Parser, add_everything

_HEAD = """# Command line

This page is generated from the program. `jles COMMAND --help` prints the same. A mistake in the
input ends with one line and status 2; `jles doctor` and `jles data check` end with status 1 if
they find something wrong.
"""


def page() -> str:
    """Markdown with a section for every command."""
    parser = add_everything(build_parser())
    return "\n".join([_HEAD, *_options(parser), *_sections(parser, 2)])


def _sections(parser: Parser, level: int):
    for name, command in parser.subcommands().items():
        yield f"\n{'#' * level} {command.prog}\n"
        yield f"{_sentence(command.description or name)}\n"
        yield f"```\n{_usage(command)}\n```\n"
        yield from _options(command)
        yield from _sections(command, level + 1)


def _usage(parser: Parser) -> str:
    """Usage, wrapped between the arguments."""
    text = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return "\n".join(textwrap.wrap(text, 84, subsequent_indent="    ", break_on_hyphens=False))


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _options(parser: Parser):
    rows = [row for action in parser._actions if (row := _row(parser, action))]
    if rows:
        yield "| argument | meaning |"
        yield "|---|---|"
        yield from rows
        yield ""


def _row(parser: Parser, action: argparse.Action) -> str | None:
    if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
        return None
    formatter = parser._get_formatter()
    if action.option_strings:
        value = "" if action.nargs == 0 else " " + formatter._format_args(action, _name(action))
        names = ", ".join(f"`{name}{value}`" for name in action.option_strings)
    else:
        names = f"`{_name(action)}`"
    text = formatter._expand_help(action) if action.help else ""
    known = action.default not in (None, False, [], argparse.SUPPRESS)
    if known and action.option_strings and str(action.default) not in text:
        text += f" (default: {action.default})"
    return f"| {names} | {text} |".replace("|---", "---")


def _name(action: argparse.Action):
    if action.metavar is not None:
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()
