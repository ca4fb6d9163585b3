"""`jles init-config`: a training file to start from."""

from pathlib import Path

from jles.errors import InputError
from jles.files import write_atomically
from jles.lock import check_no_writer


def run(arguments) -> None:
    """Prints the file, or writes it where `--out` says."""
    out = arguments.out
    if out is not None:
        if Path(out).exists():
            raise InputError(f"{out}: exists already; choose another name or remove it")
        check_no_writer(Path(out).parent)

    from jles.config import from_dict
    from jles.data.frames import LabelKeys
    from jles.data.survey import survey
    from jles.train.starting_config import starting_config

    keys = from_dict(LabelKeys, dict(arguments.labels), "--labels")
    found = survey(arguments.data, keys)
    text = starting_config(arguments.kind, arguments.data, found, keys)
    if out is None:
        print(text, end="")
        return
    write_atomically(out, text)
    print(f"{out} written; edit it, then: jles train {out}")
