"""`jles train`: trains a model as the training file says."""

from jles.config import from_dict, override, read_yaml
from jles.train.config import TrainConfig


def run(arguments) -> None:
    """Trains as the file and the overrides say."""
    values = override(read_yaml(arguments.config), arguments.set)
    config = from_dict(TrainConfig, values, arguments.config)

    from jles.train.directory import run_directory
    from jles.train.loop import train
    from jles.train.processes import is_first

    out = train(
        config, run_directory(config, arguments.out, arguments.config), arguments.resume
    )
    if is_first():
        print(f"model written to {out}")
