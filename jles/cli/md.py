"""`jles md`: molecular dynamics with a model, optionally in an electric field."""

from argparse import Namespace
from pathlib import Path

from jles.cli.interrupts import continue_if, remark_after_interrupt
from jles.cli.sums import sum_options
from jles.config import from_dict, override, read_yaml
from jles.errors import InputError
from jles.files import TRAJECTORY


def run(arguments: Namespace) -> None:
    """Runs the dynamics that the config and its overrides describe."""
    from jles.dynamics.config import MdConfig
    from jles.dynamics.resume import claimed

    values = override(read_yaml(arguments.config), arguments.set)
    config = from_dict(MdConfig, values, arguments.config)
    trajectory = Path(arguments.out, TRAJECTORY)
    with (
        remark_after_interrupt(lambda: continue_if(trajectory.is_file())),
        claimed(arguments.out, arguments.resume),
    ):
        _run(config, arguments)
    print(f"{arguments.out}: trajectory.h5, log.csv, final.extxyz")


def _run(config, arguments: Namespace) -> None:
    import jles
    from jles.dynamics.run import run_claimed

    atoms = read_start(arguments.start)
    sums = sum_options(arguments)
    model = jles.load(arguments.model, dtype=config.dtype, electrostatics=sums)
    run_claimed(model, atoms, config, arguments.out, arguments.resume, arguments.start)


def read_start(path: str):
    """One frame of a file as `ase.Atoms`; `FILE@INDEX` as in ASE, by default the last.

    Raises:
        InputError: the file cannot be read, or the index selects no frame or several.
    """
    from jles.data.frames import read_atoms

    file = Path(path)
    chosen = path if not file.exists() and "@" in file.name else f"{path}@-1"
    frames = list(read_atoms(chosen))
    if not frames:
        raise InputError(f"{path}: there is no such frame")
    if len(frames) > 1:
        raise InputError(f"{path}: {len(frames)} frames; give the index of one, e.g. FILE@-1")
    return frames[0]
