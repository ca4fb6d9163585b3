"""`jles predict`: structures in, extended XYZ with everything the model says of them out."""

from argparse import Namespace

from jles.errors import InputError

_LATER = {
    "born_charges": "--born-charges",
    "polarizability": "--polarizability",
    "field": "--field",
}


def run(arguments: Namespace) -> None:
    """Writes the file whole or not at all, with results where ASE looks for them.

    Latent charges (e) are the column `latent_charges`, one number per channel. Labels of the
    input are not copied: every value in the output is the model's.
    """
    for name, option in _LATER.items():
        if getattr(arguments, name):
            raise InputError(
                f"{option}: comes in a later version; this one predicts energy, forces, "
                "stress, latent charges and the dipole of clusters"
            )
    from ase.io import write

    import jles
    from jles.cli.frames import label_keys, plan, predict_frame
    from jles.data.frames import check_elements, read_frames
    from jles.files import atomic_path
    from jles.follow import follow

    model = jles.load(arguments.model, dtype=arguments.dtype)
    frames = read_frames(arguments.input, label_keys(model))
    check_elements(frames, model.config.numbers, f"of the model {arguments.model}")
    plan(model, frames)
    with (
        atomic_path(arguments.out) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        for frame in follow(frames, "frame"):
            prediction = predict_frame(model, frame, wanted(model.config, frame))
            write(file, labelled_atoms(model, frame, prediction), format="extxyz")
    print(f"{arguments.out}: {len(frames)} frame(s)")


def wanted(config, frame) -> tuple[str, ...]:
    """What there is to say of a frame: stress of crystals, dipoles of clusters with charges."""
    periodic = bool(frame.pbc.any())
    names = ["energy", "forces"]
    names += ["stress"] if periodic else []
    if config.charges is not None:
        names += ["charges"] if periodic else ["charges", "dipole"]
    return tuple(names)


def labelled_atoms(model, frame, prediction):
    """`ase.Atoms` that carry a `Prediction`."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from jles.cli.frames import atoms_of

    atoms = atoms_of(model, frame)
    results = {"energy": prediction.energy, "forces": prediction.forces}
    if prediction.stress is not None:
        xx, xy, xz, _, yy, yz, _, _, zz = prediction.stress.ravel()
        results["stress"] = [xx, yy, zz, yz, xz, xy]
    if prediction.dipole is not None:
        results["dipole"] = prediction.dipole
    if prediction.charges is not None:
        atoms.arrays["latent_charges"] = prediction.charges
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
