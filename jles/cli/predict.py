"""`jles predict`: writes the quantities of a file of structures as extended XYZ."""

from argparse import Namespace
from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress

from jles.cli.model_on_frames import (
    atoms_of,
    label_keys,
    load,
    note_lines,
    plan,
    predict_frame,
)
from jles.data.frames import check_elements, file_and_index, read_frames
from jles.errors import InputError
from jles.files import atomic_path
from jles.follow import follow
from jles.lock import check_no_writer
from jles.predict.committee import Committee
from jles.predict.phonopy_born import check_born_file, write_prediction
from jles.quantities.catalogue import QUANTITIES
from jles.units import FIELD_UNITS


def run(arguments: Namespace) -> None:
    """Writes the file whole or not at all, with results where ASE looks for them.

    Energy, forces, stress and dipole are ASE's results. Other quantities of atoms are columns
    and those of the structure are values of the frame, under the key of the catalogue
    (`latent_charges`, `bec`, ...), tensors as rows of numbers with the last index running
    fastest. The applied `field` (V/angstrom) and `notes` are values of the frame. Labels of the
    input are not copied: every value in the output is the model's. For a committee they are
    means, and standard deviations over its members have the suffix `_spread`.
    """
    _check_outputs(arguments.input, arguments.out, arguments.phonopy_born)
    _check_needed_options(arguments)
    model = asked_model(arguments)
    if Path(arguments.out).suffix not in {".xyz", ".extxyz"}:
        raise InputError(
            f"{arguments.out}: the output is extended XYZ; end its name in .extxyz"
        )
    frames = read_frames(arguments.input, label_keys(model), labels=False)
    check_elements(frames, model.config.numbers, f"of the model {arguments.model}")
    plan(model, frames)
    field = None
    if arguments.field:
        field = [FIELD_UNITS[arguments.field_unit] * value for value in arguments.field]
    asked = [name for name in QUANTITIES if getattr(arguments, name, False)]
    if arguments.phonopy_born:
        pbc = [frame.pbc for frame in frames]
        asked += check_born_file(model.config, pbc, arguments.input)
    options = {"born_mode": arguments.born_mode, "sum_rule": arguments.sum_rule, "field": field}
    notes: dict[str, list[str]] = {}
    with (
        atomic_path(arguments.out) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        for frame in follow(frames, "frame"):
            want = [*outputs_of(model.config, frame, field is not None), *asked]
            want = list(dict.fromkeys(want))
            out = predict_frame(model, frame, want, **options)
            mean, spread = (out.mean, out.spread) if arguments.committee else (out, None)
            for note in mean.notes:
                notes.setdefault(note, []).append(frame.source)
            atoms = labelled_atoms(model, frame, mean, spread)
            if field is not None:
                atoms.info["field"] = np.array(field)
            write(file, atoms, format="extxyz")
        if arguments.phonopy_born:
            write_prediction(arguments.phonopy_born, model.config, atoms, mean)
    print(f"{arguments.out}: {len(frames)} frame(s)")
    if arguments.phonopy_born:
        print(f"{arguments.phonopy_born}: Born charges for phonopy")
    for line in note_lines(notes, model.where, f", see {arguments.out}"):
        print(f"note: {line}")


def _check_outputs(given: str, out: str, born: str | None) -> None:
    """Refuses to write over the input, or one output over the other."""
    taken = {file_and_index(given)[0].resolve(): "the input, whose labels would be lost"}
    for option, file in (("-o", out), ("--phonopy-born", born)):
        if file is None:
            continue
        place = Path(file).resolve()
        if place in taken:
            raise InputError(f"{file}: is {taken[place]}; choose another")
        taken[place] = f"the output of {option}"
        check_no_writer(Path(file).parent)


def _check_needed_options(arguments: Namespace) -> None:
    """Refuses options without effect, since another one is missing."""
    if arguments.field_unit != "V/angstrom" and not arguments.field:
        raise InputError("--field-unit: has no effect without --field")
    if arguments.born_charges or arguments.phonopy_born:
        return
    changed = {"--sum-rule": arguments.sum_rule, "--born-mode": arguments.born_mode != "exact"}
    if idle := [option for option, given in changed.items() if given]:
        raise InputError(f"{idle[0]}: has no effect without --born-charges")


def asked_model(arguments: Namespace):
    """The model of the command line, or the committee of it and others."""
    model = load(arguments)
    if not arguments.committee:
        return model
    return Committee([model, *(load(arguments, path) for path in arguments.committee)])


def outputs_of(config, frame, in_field: bool = False) -> list[str]:
    """Quantities of a frame that are written without being asked for."""
    return [
        name
        for name, quantity in QUANTITIES.items()
        if quantity.is_output(frame.pbc)
        and not quantity.refuse(config, frame.pbc, in_field, frame.cell)
    ]


def labelled_atoms(model, frame, prediction, spread=None):
    """`ase.Atoms` that carry a `Prediction`, and the spread of one beside it."""
    atoms = atoms_of(model, frame)
    atoms.calc = SinglePointCalculator(atoms)
    for name, value in prediction.values.items():
        if name in QUANTITIES and QUANTITIES[name].result:
            in_voigt = name == "stress"
            result = full_3x3_to_voigt_6_stress(value) if in_voigt else value
            atoms.calc.results[name] = result
        else:
            _label(atoms, name, value)
    for name, value in spread.values.items() if spread else ():
        _label(atoms, name, value, "_spread")
    if prediction.notes:
        atoms.info["notes"] = "; ".join(prediction.notes)
    return atoms


def _label(atoms, name: str, value, suffix: str = "") -> None:
    """Puts a value into a column of the atoms or among the values of the frame."""
    quantity = QUANTITIES.get(name)
    key = (quantity.key if quantity else name) + suffix
    if isinstance(value, dict):
        atoms.info |= {f"{key}_{part}": number for part, number in value.items()}
    elif quantity and quantity.per_atom:
        atoms.arrays[key] = value.reshape(len(atoms), -1) if value.ndim > 1 else value
    else:
        atoms.info[key] = value if np.ndim(value) == 0 else np.ravel(value)
