"""The program `jles`: reads the command line, runs a command, reports mistakes in one line.

Each command is a module of `jles.cli` with a function `run(arguments)`, imported when it is
called. Nothing heavy is imported here, so `jles --help` is fast.
"""

import argparse
import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from jles.cache_folder import VARIABLE, use_compilation_cache
from jles.cli.analyse_options import add_analyses
from jles.cli.data_options import add_data_build, add_data_check, add_labels
from jles.cli.distill_options import add_distill
from jles.cli.import_options import add_import_torch
from jles.cli.lammps_options import add_inputs, add_rest
from jles.cli.parser import Parser, add_set
from jles.cli.sums import add_sum
from jles.errors import InputError, InputWarning
from jles.version import __version__

_NO_CACHE = "--no-compilation-cache"
_WITHOUT_CACHE = {_NO_CACHE, "-h", "--help", "--version"}

_USER_MISTAKE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0 only for success.

    A command returns None, or 1 if it finds something wrong with what it examines.
    """
    # Before the parser, which imports JAX for some commands. Callers in Python keep theirs.
    if argv is None and not _WITHOUT_CACHE & set(sys.argv):
        use_compilation_cache()
    arguments = build_parser().parse_args(argv)
    if empty := [name for name, value in vars(arguments).items() if _is_empty(value)]:
        return _complain(f"{empty[0]}: is an empty text; is a variable of the shell not set?")
    command = importlib.import_module(f"jles.cli.{arguments.module}")
    try:
        with _warnings_in_one_line():
            status = command.run(arguments)
        sys.stdout.flush()
    except InputError as error:
        return _complain(str(error))
    except KeyboardInterrupt as error:
        print(f"jles: interrupted{''.join(map(str, error.args))}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) closed the pipe; Python flushes again at exit, into devnull.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror}")
    return status or 0


def _is_empty(value) -> bool:
    """True for empty text, which as a name would mean the working directory."""
    return value == "" or (isinstance(value, list) and "" in value)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Prints warnings about the input like errors, without a place in the code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def shown(message, category, *rest, **options):
            if issubclass(category, InputWarning):
                print(f"jles: warning: {message}", file=sys.stderr, flush=True)
            else:
                show(message, category, *rest, **options)

        warnings.showwarning = shown
        # A damaged entry or a full disk: the function is compiled as without a cache.
        warnings.filterwarnings(
            "ignore", "Error (reading|writing) persistent compilation cache"
        )
        yield


def _complain(message: str) -> int:
    print("jles: error: " + " ".join(message.split()), file=sys.stderr)
    return _USER_MISTAKE


def build_parser() -> Parser:
    """The parser of all commands; `module` names the module of `jles.cli` that runs one."""
    parser = Parser(
        prog="jles", description="Learn charges from energies and forces; predict with them."
    )
    parser.add_argument("--version", action="version", version=f"jles {__version__}")
    parser.add_argument(
        _NO_CACHE,
        action="store_true",
        help=f"do not store compiled code for later runs; also {VARIABLE}=off",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_md(commands)
    _add_serve(commands)
    _add_lammps(commands)
    _add_analyse(commands)
    _add_import_torch(commands)
    _add_info(commands)
    _add_init_config(commands)
    _add_distill(commands)
    _add_data(commands)
    _add_doctor(commands)
    _add_completion(commands)
    return parser


def _add_command(commands, name: str, summary: str) -> Parser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(module=name.replace("-", "_"))
    return parser


def _add_dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision of the model (float32)",
    )


def _add_demo(commands) -> None:
    parser = _add_command(
        commands, "demo", "train on generated point charges and compare the charges found"
    )
    parser.add_argument("--out", metavar="DIR", default="demo", help="where to write (demo)")
    _add_dtype(parser)


def _add_train(commands) -> None:
    parser = _add_command(commands, "train", "train a model")
    parser.add_argument("config", metavar="CONFIG.yaml", help="what to train on and how")
    add_set(parser)
    parser.add_argument("--out", metavar="DIR", help="where to write (out, or runs/CONFIG)")
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint"
    )


def _add_evaluate(commands) -> None:
    parser = _add_command(commands, "evaluate", "errors of a model on labelled structures")
    parser.add_argument("model", metavar="MODEL", help="a model directory")
    parser.add_argument(
        "data", metavar="DATA", help="structures with labels, any file ASE reads, or shards"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="evaluation", help="where to write (evaluation)"
    )
    _add_born_mode(parser)
    parser.add_argument(
        "--phonopy-born",
        action="store_true",
        help="also write phonopy's file BORN, if DATA is one primitive cell",
    )
    _add_screening(parser)
    add_sum(parser)
    _add_dtype(parser)


def _add_screening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epsilon-infinity",
        metavar="EPS",
        type=float,
        help="electronic dielectric constant; makes latent moments of crystals physical",
    )
    parser.add_argument(
        "--positive", metavar="ELEMENT", help="an element with positive charge; fixes the sign"
    )


def _add_born_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--born-mode",
        choices=("exact", "published", "local"),
        default="exact",
        help="Born charges: derivatives of the polarization (exact, the default), at the wave "
        "vectors of a crystal's cell (published), or of a molecule as in a large periodic cell "
        "(local)",
    )


def _add_predict(commands) -> None:
    parser = _add_command(
        commands, "predict", "energy, forces, stress, charges and response of structures"
    )
    parser.add_argument("model", metavar="MODEL", help="a model directory")
    parser.add_argument("input", metavar="IN", help="structures, any file ASE reads")
    parser.add_argument(
        "-o", "--out", metavar="OUT.extxyz", required=True, help="file to write"
    )
    parser.add_argument(
        "--committee",
        metavar="MODEL",
        nargs="+",
        default=[],
        help="more models of the same architecture: writes means and spreads over all models",
    )
    parser.late = _add_quantities
    _add_born_mode(parser)
    parser.add_argument(
        "--sum-rule", action="store_true", help="make Born charges obey the acoustic sum rule"
    )
    parser.add_argument(
        "--phonopy-born",
        metavar="BORN",
        help="also write phonopy's file of Born charges, of one primitive cell",
    )
    parser.add_argument(
        "--field",
        metavar=("X", "Y", "Z"),
        nargs=3,
        type=float,
        help="applied electric field; energy, forces and stress include it",
    )
    parser.add_argument(
        "--field-unit",
        choices=("V/angstrom", "kV/cm"),
        default="V/angstrom",
        help="of --field (V/angstrom)",
    )
    _add_screening(parser)
    add_sum(parser)
    _add_dtype(parser)


def _add_quantities(parser: argparse.ArgumentParser) -> None:
    """One option for every quantity of the catalogue that must be asked for."""
    from jles.quantities.catalogue import QUANTITIES
    from jles.units import pretty

    for name, quantity in QUANTITIES.items():
        if quantity.output == "asked":
            parser.add_argument(
                quantity.option,
                dest=name,
                action="store_true",
                help=f"{quantity.meaning.replace('`', '')} ({pretty(quantity.unit)})",
            )


def _add_md(commands) -> None:
    parser = _add_command(commands, "md", "molecular dynamics, optionally in an electric field")
    parser.add_argument("model", metavar="MODEL", help="a model directory")
    parser.add_argument(
        "start",
        metavar="START",
        help="a structure, any file ASE reads; FILE@INDEX picks a frame",
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="what to run and what to record")
    add_set(parser)
    parser.add_argument("--out", metavar="DIR", default="md", help="where to write (md)")
    add_sum(parser)
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint"
    )


def _add_serve(commands) -> None:
    parser = _add_command(
        commands, "serve", "serve the forces of a model to a program that moves atoms"
    )
    parser.add_argument(
        "--ipi", action="store_true", required=True, help="connect to a running i-PI server"
    )
    parser.add_argument("model", metavar="MODEL", help="a model directory")
    parser.add_argument(
        "start", metavar="START", help="the server's atoms in its order, any file ASE reads"
    )
    parser.add_argument("--host", help="machine of the server (localhost)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, help="port of the server (65535, as in i-PI)")
    where.add_argument(
        "--unix",
        metavar="NAME",
        help="Unix socket of the server: /tmp/ipi_NAME, or a path with a slash",
    )
    parser.add_argument(
        "--dipole", action="store_true", help="send the dipole of every configuration as well"
    )
    parser.add_argument(
        "--born-charges",
        action="store_true",
        help="send dipole and Born effective charges as well",
    )
    add_sum(parser)
    _add_dtype(parser)


def _add_lammps(commands) -> None:
    parser = _add_command(
        commands, "lammps", "run LAMMPS with a model as its force field, on MPI ranks"
    )
    add_inputs(parser)
    add_sum(parser)
    _add_dtype(parser)
    add_rest(parser)


def _add_analyse(commands) -> None:
    parser = _add_command(commands, "analyse", "spectra, transport and structure from runs")
    kinds = parser.add_subparsers(title="analyses", metavar="WHAT", required=True, dest="what")
    add_analyses(kinds)


def _add_import_torch(commands) -> None:
    summary = "turn a published torch model into a jles model"
    add_import_torch(_add_command(commands, "import-torch", summary))


def _add_info(commands) -> None:
    parser = _add_command(commands, "info", "configuration and errors of a model")
    parser.add_argument("model", metavar="MODEL", help="a model directory")


def _add_data(commands) -> None:
    parser = _add_command(commands, "data", "check a data set, or write it as shards")
    kinds = parser.add_subparsers(
        title="what to do", metavar="WHAT", required=True, dest="what"
    )
    add_data_check(kinds)
    add_data_build(kinds)


def _add_distill(commands) -> None:
    summary = "train a student on frames that a teacher samples and labels"
    add_distill(_add_command(commands, "distill", summary))


def _add_doctor(commands) -> None:
    parser = _add_command(
        commands, "doctor", "check the installation; the output belongs in a bug report"
    )
    parser.add_argument(
        "--no-self-test", action="store_true", help="only say what is installed"
    )


def _add_completion(commands) -> None:
    parser = _add_command(
        commands, "completion", "print a script that completes commands in a shell"
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="for which shell")


def _add_init_config(commands) -> None:
    parser = _add_command(
        commands, "init-config", "write a training file that suits a data set"
    )
    parser.late = _add_kinds
    parser.add_argument("-o", "--out", metavar="CONFIG.yaml", help="file to write (printed)")
    add_labels(parser)


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    """The backbones, whose records import msgspec, and the data, which follow them."""
    from jles.train.starting_config import kinds

    parser.add_argument(
        "kind",
        choices=sorted(kinds()),
        metavar="KIND",
        help=f"backbone: {', '.join(sorted(kinds()))}",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="training structures: any files ASE reads, or shards",
    )
