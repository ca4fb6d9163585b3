"""`jles distill`: trains a student on frames that a teacher samples and labels."""

from argparse import Namespace
from pathlib import Path

from jles.cli.interrupts import continue_if, remark_after_interrupt
from jles.config import from_dict, override, read_yaml


def run(arguments: Namespace) -> None:
    """Distills as the config and its overrides say, and prints the report."""
    from jles.distill.config import DistillConfig

    values = {} if arguments.config is None else read_yaml(arguments.config)
    where = arguments.config or "--set"
    config = from_dict(DistillConfig, override(values, arguments.set), where)

    from jles.distill.place import Place
    from jles.distill.run import distill

    record = Place(Path(arguments.out)).record
    with remark_after_interrupt(lambda: continue_if(record.is_file())):
        distill(arguments.teacher, arguments.start, config, arguments.out, arguments.resume)
    print(Path(arguments.out, "report.md").read_text(encoding="utf-8"), end="")
    print(f"{arguments.out}/: student (a model), report.md, report.json, report.png")
