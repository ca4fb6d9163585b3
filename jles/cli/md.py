"""`jles md`: molecular dynamics of a model, with an electric field where one is asked for."""

from argparse import Namespace

from jles.config import from_dict, override, read_yaml


def run(arguments: Namespace) -> None:
    """Runs as the file and its overrides say."""
    from jles.dynamics.config import MdConfig

    values = override(read_yaml(arguments.config), arguments.set)
    config = from_dict(MdConfig, values, arguments.config)

    import jles
    from jles.dynamics.run import run_md
    from jles.dynamics.start import read_start
    from jles.errors import InputError

    atoms = read_start(arguments.start)
    model = jles.load(arguments.model, dtype=config.dtype)
    try:
        run_md(model, atoms, config, arguments.out, arguments.resume)
    except InputError as error:
        # What begins with a file or a step says itself where it is.
        place = (
            "" if str(error).startswith((arguments.out, "step ")) else f"{arguments.start}: "
        )
        raise InputError(f"{place}{error}") from None
    print(
        f"{arguments.out}: {config.steps} steps at most; trajectory.h5, log.csv, final.extxyz"
    )
