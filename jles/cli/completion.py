"""`jles completion`: completion of commands, options and files in a shell."""

import sys
from argparse import Namespace

from jles.errors import InputError


def run(arguments: Namespace) -> None:
    """Prints the script."""
    try:
        import shtab
    except ImportError:
        raise InputError(
            "completion needs the package shtab: pip install 'jles[completion]'"
        ) from None

    from jles.cli.main import build_parser
    from jles.cli.parser import add_everything

    sys.stdout.write(shtab.complete(add_everything(build_parser()), arguments.shell))
