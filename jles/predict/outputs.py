"""The traced function behind `predict`."""

from jles.models.potential import Potential
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.evaluation import Evaluation
from jles.structures.structure import Structure


def outputs(
    potential: Potential, params, structure: Structure, field, want: frozenset, born_mode: str
) -> dict:
    """Wanted quantities of one structure, and what the host needs to finish them.

    Args:
        potential: the model.
        params: its parameters.
        structure: one structure.
        field: applied, (3,), V/angstrom; None for none.
        want: names of `QUANTITIES`; static.
        born_mode: "exact", "published" or "local"; static.

    Returns:
        Arrays by name, padding included.
    """
    evaluation = Evaluation(potential, params, structure, field, want, born_mode)
    asked = [quantity for name, quantity in QUANTITIES.items() if name in want]
    needs = {name for quantity in asked for name in quantity.needs}
    if field is not None and structure.plan.periodic:
        needs |= {"bare_charges", "factor"}
    found = {quantity.name: quantity.of(evaluation) for quantity in asked}
    return found | {name: getattr(evaluation, name) for name in sorted(needs)}
