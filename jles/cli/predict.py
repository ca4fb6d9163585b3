"""`jles predict`: writes what a model says of structures as extended XYZ."""

from argparse import Namespace
from pathlib import Path

import numpy as np

from jles.errors import InputError
from jles.units import FIELD_UNITS

COLUMNS = {
    "charges": "latent_charges",
    "dipoles": "latent_dipoles",
    "quadrupoles": "latent_quadrupoles",
    "born_charges": "bec",
    "polarizability_derivative": "raman",
}
"""Columns of the atoms; matrices as nine numbers, row after row, and so on."""

VALUES = (
    "quadrupole",
    "polarization",
    "polarization_quantum",
    "acoustic_sum",
    "polarizability",
    "epsilon_infinity",
    "piezoelectric",
)
"""Values of the frame."""

SPREAD_COLUMNS = {"forces": "forces"} | COLUMNS
SPREAD_VALUES = ("energy", "stress", "dipole", *VALUES)
"""The same of the spread of a committee, which has no place of its own in ASE."""


def run(arguments: Namespace) -> None:
    """Writes the file whole or not at all, with results where ASE looks for them.

    Latent moments are the columns `latent_charges` (e; one number per channel), `latent_dipoles`
    and `latent_quadrupoles`, Born charges (e) the column `bec`, nine numbers with the polarization
    first, Raman tensors (e angstrom/V) the column `raman`, 27 numbers with the displacement last.
    `quadrupole` of clusters (e angstrom^2), `polarization` and its quantum (e angstrom), the sum of
    the Born charges (e), `polarizability` (e angstrom^2/V), `epsilon_infinity`,
    `piezoelectric` (e/angstrom^2, 27 numbers, the polarization first), the `field` (V/angstrom)
    and `notes` are values of the frame. Labels of the input are not copied: every value in the
    output is the model's. Of a committee these are means, and the standard deviations over its
    members are beside them, `_spread` after the name: `forces_spread`, `bec_spread` and so on.
    """
    from ase.io import write

    from jles.cli.model_on_frames import label_keys, plan, predict_frame
    from jles.data.frames import check_elements, read_frames
    from jles.files import atomic_path
    from jles.follow import follow

    if Path(arguments.out).resolve() == Path(arguments.input).resolve():
        raise InputError(
            f"{arguments.out}: is the input, whose labels would be lost; choose another"
        )
    model = asked_model(arguments)
    frames = read_frames(arguments.input, label_keys(model))
    check_elements(frames, model.config.numbers, f"of the model {arguments.model}")
    plan(model, frames)
    field = None
    if arguments.field:
        field = [FIELD_UNITS[arguments.field_unit] * value for value in arguments.field]
    responses = ("born_charges", "polarizability", "polarizability_derivative", "piezoelectric")
    asked = [name for name in responses if getattr(arguments, name)]
    options = {"born_mode": arguments.born_mode, "sum_rule": arguments.sum_rule, "field": field}
    told = set()
    with (
        atomic_path(arguments.out) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        for frame in follow(frames, "frame"):
            want = [*wanted(model.config, frame, field is not None), *asked]
            said = predict_frame(model, frame, want, **options)
            mean, spread = (said.mean, said.spread) if arguments.committee else (said, None)
            told.update(mean.notes)
            atoms = labelled_atoms(model, frame, mean)
            if field is not None:
                atoms.info["field"] = np.array(field)
            if spread is not None:
                _label(atoms, spread, SPREAD_COLUMNS, SPREAD_VALUES, "_spread")
            write(file, atoms, format="extxyz")
    print(f"{arguments.out}: {len(frames)} frame(s)")
    for note in sorted(told)[:3]:
        print(f"note: {note}")


def asked_model(arguments: Namespace):
    """The model of the command line, or the committee of it and others."""
    from jles.cli.model_on_frames import load

    model = load(arguments)
    if not arguments.committee:
        return model
    from jles.predict.committee import Committee

    return Committee([model, *(load(arguments, path) for path in arguments.committee)])


def wanted(config, frame, in_field: bool = False) -> tuple[str, ...]:
    """What there is to say of a frame at little cost."""
    periodic = bool(frame.pbc.any())
    names = ["energy", "forces"]
    names += ["stress"] if has(config, frame, "stress", in_field) else []
    if config.charges is None:
        return tuple(names)
    names.append("charges")
    if config.dipoles is not None or config.polarizability is not None:
        names.append("dipoles")
    if config.quadrupoles is not None:
        names.append("quadrupoles")
    if not periodic:
        names += ["dipole", "quadrupole"]
    elif has(config, frame, "polarization"):
        names.append("polarization")
    return tuple(names)


def has(config, frame, name: str, in_field: bool = False) -> bool:
    """Whether this model has it of this structure."""
    from jles.predict.prediction import check_structure, check_wanted

    try:
        check_wanted((name,), config, "the model")
        check_structure((name,), config, frame.pbc, in_field)
    except InputError:
        return False
    return True


def labelled_atoms(model, frame, prediction):
    """`ase.Atoms` that carry a `Prediction`."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from jles.cli.model_on_frames import atoms_of

    atoms = atoms_of(model, frame)
    results = {"energy": prediction.energy, "forces": prediction.forces}
    if prediction.stress is not None:
        xx, xy, xz, _, yy, yz, _, _, zz = prediction.stress.ravel()
        results["stress"] = [xx, yy, zz, yz, xz, xy]
    if prediction.dipole is not None:
        results["dipole"] = prediction.dipole
    _label(atoms, prediction, COLUMNS, VALUES)
    if prediction.notes:
        atoms.info["notes"] = "; ".join(prediction.notes)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _label(atoms, prediction, columns: dict, values, suffix: str = "") -> None:
    """Puts what there is of a prediction into columns of the atoms and values of the frame."""
    for name, column in columns.items():
        value = getattr(prediction, name)
        if value is not None:
            flat = value.ndim >= 3
            atoms.arrays[column + suffix] = value.reshape(len(atoms), -1) if flat else value
    for name in values:
        value = getattr(prediction, name)
        if value is not None:
            atoms.info[name + suffix] = value if np.ndim(value) == 0 else np.ravel(value)
