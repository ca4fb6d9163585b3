"""From ASE atoms to the structure that the functions of a model take."""

from ase import Atoms
from ase.data import chemical_symbols

from jles.errors import InputError
from jles.models.config import ModelConfig
from jles.models.state import labels_of
from jles.structures.batch import build_structure
from jles.structures.structure import Structure
from jles.structures.total_charge import total_charge_of


def structure_of(
    atoms,
    config: ModelConfig,
    *,
    total_charge: float | None = None,
    state_key: str = "state",
    where: str = "the model",
    **options,
) -> Structure:
    """The structure of ASE atoms, on the host, with the cutoff and the sum plan of the model.

    Args:
        atoms: of ASE.
        config: of the model.
        total_charge: e; by default `atoms.info["total_charge"]`, or 0 where that is not set.
        state_key: name of the labels of the atoms, for models that read them.
        where: name of the model in errors.
        options: `dtype` and others of `build_structure`.

    Raises:
        InputError: an element that the model does not know, a label that is missing or unknown,
            or geometry that cannot be right.
    """
    check_atoms(atoms)
    check_elements(atoms, config, where)
    return build_structure(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=config.backbone.cutoff,
        total_charge=charge_of(atoms) if total_charge is None else total_charge,
        state=labels_of(atoms, config.state, state_key, where),
        **config.sum_options,
        **options,
    )


def check_atoms(atoms) -> None:
    """Refuses what is not ASE atoms.

    Raises:
        InputError: names its type.
    """
    if isinstance(atoms, Atoms):
        return
    kind = type(atoms).__name__
    remedy = "read the file with ase.io.read first" if isinstance(atoms, str) else "give those"
    raise InputError(f"structure: is of type {kind}, not ase.Atoms; {remedy}")


def check_elements(atoms, config: ModelConfig, where: str) -> None:
    """Refuses atoms of elements that the model does not know.

    Raises:
        InputError: names the elements.
    """
    unknown = sorted(set(atoms.numbers.tolist()) - set(config.numbers))
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(f"{where} has not seen {names}; it knows {', '.join(config.elements)}")


def charge_of(atoms, key: str = "total_charge") -> float:
    """Total charge (e) in `atoms.info[key]`; 0 where it is not set.

    Raises:
        InputError: it is not one number, or larger than the charge of all nuclei.
    """
    return total_charge_of(atoms.info, key, atoms.numbers)
