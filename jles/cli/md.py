"""`jles md`: molecular dynamics with a model, optionally in an electric field."""

from argparse import Namespace

from jles.cli.sums import sum_options
from jles.config import from_dict, override, read_yaml


def run(arguments: Namespace) -> None:
    """Runs the dynamics that the config and its overrides describe."""
    from jles.dynamics.config import MdConfig

    values = override(read_yaml(arguments.config), arguments.set)
    config = from_dict(MdConfig, values, arguments.config)

    import jles
    from jles.dynamics.run import run_md
    from jles.dynamics.start import read_start
    from jles.errors import InputError

    atoms = read_start(arguments.start)
    sums = sum_options(arguments)
    model = jles.load(arguments.model, dtype=config.dtype, electrostatics=sums)
    try:
        run_md(model, atoms, config, arguments.out, arguments.resume)
    except InputError as error:
        # A message that begins with a file or a step already names the place.
        place = (
            "" if str(error).startswith((arguments.out, "step ")) else f"{arguments.start}: "
        )
        raise InputError(f"{place}{error}") from None
    print(f"{arguments.out}: trajectory.h5, log.csv, final.extxyz")
