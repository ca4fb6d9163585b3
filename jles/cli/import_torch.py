"""`jles import-torch`: converts a published torch checkpoint to a model directory."""

import math
from argparse import Namespace
from pathlib import Path

from jles.errors import InputError
from jles.lock import only_writer


def run(arguments: Namespace) -> None:
    """Reads the checkpoint without executing it and writes the model directory."""
    energies = parse_offsets(arguments.offsets)

    from jles.interop.torch_import import import_torch
    from jles.models.store import check_free, save_model

    check_free(arguments.out)
    config, params = import_torch(arguments.checkpoint, energies, arguments.long_range_weight)
    source = {"imported_from": Path(arguments.checkpoint).name}
    with only_writer(arguments.out):
        save_model(arguments.out, config, params, training=source)
    print(f"{arguments.out}: a model of {', '.join(config.elements)}")
    missing = [symbol for symbol in config.elements if symbol not in config.element_energies]
    if missing:
        print(
            f"{', '.join(missing)}: no element energy given, so it counts 0 eV; the file "
            "holds none (--offsets H=-5.853 O=-2.927)"
        )


def parse_offsets(assignments: list[str]) -> dict[str, float]:
    """Element energies (eV) from texts like "H=-5.853".

    Raises:
        InputError: a text of another form, a value that is not finite, an element given twice.
    """
    energies: dict[str, float] = {}
    for assignment in assignments:
        symbol, _, text = assignment.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not symbol or not math.isfinite(value):
            raise InputError(f"--offsets {assignment}: expected ELEMENT=eV, e.g. H=-5.853")
        if symbol in energies:
            raise InputError(f"--offsets {assignment}: {symbol} is given twice")
        energies[symbol] = value
    return energies
