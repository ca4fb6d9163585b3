"""`jles train`: trains a model as the training file says."""

from functools import partial

from jles.cli.interrupts import remark_after_interrupt
from jles.config import from_dict, override, read_yaml
from jles.errors import ConfigError, InputError
from jles.train.config import TrainConfig


def run(arguments) -> None:
    """Trains as the file and the overrides say."""
    values = override(read_yaml(arguments.config), arguments.set)
    config = from_dict(TrainConfig, values, arguments.config)

    from jles.train.directory import after_interrupt, run_directory
    from jles.train.loop import train
    from jles.train.processes import is_first

    out = run_directory(config, arguments.out, arguments.config)
    with remark_after_interrupt(partial(after_interrupt, out)):
        try:
            train(config, out, arguments.resume)
        except ConfigError as error:
            raise InputError(f"{arguments.config}.{error}") from None
    if is_first():
        print(f"model written to {out}")
