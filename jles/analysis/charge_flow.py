"""The flow of charge in a run: the recorded current or polarization, or formal charges."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.analysis.conditions import same_interval
from jles.analysis.estimators.conductivity import ChargeFlow
from jles.analysis.estimators.transport import Sampled, cumulative
from jles.analysis.moment import LEAST_FRAMES, shared_source
from jles.analysis.motion import weighted_sum
from jles.analysis.run import Run
from jles.errors import InputError

BORN, POLARIZATION, FORMAL = "Born charges", "recorded polarization", "formal charges"
"""Names of flows: the current dP/dt, the dipole moment of the cell, and charges of ions."""

_NEUTRAL = 1e-6


def recorded_flow(runs: Sequence[Run], scale: float = 1.0) -> ChargeFlow | None:
    """The flow from the recorded current, or from the polarization if there is no current.

    None if neither was recorded. `moment` explains why the current is preferred.
    """
    source = shared_source(runs)
    if source == "current":
        current = _sampled(runs, "current", scale)
        return ChargeFlow(BORN, current, _integrated(current))
    if source == "polarization":
        return ChargeFlow(POLARIZATION, None, _sampled(runs, "polarization", scale))
    return None


def formal_flow(runs: Sequence[Run], charges: dict[str, float]) -> ChargeFlow:
    """The flow of formal charges that move with the atoms, from velocities or positions.

    Raises:
        InputError: an element without a charge or absent from the run; charges that do not add
            up to zero, so that the current would depend on the frame of reference; neither
            velocities nor positions recorded.
    """
    weights = [_atom_charges(run, charges) for run in runs]
    has = {kind: all(run.has(kind) for run in runs) for kind in ("velocities", "positions")}
    if not any(has.values()):
        raise InputError(
            f"{runs[0].path}: --formal needs positions or velocities; record them by "
            "`record: {positions: 10}` in the md config"
        )
    flows = {
        kind: _weighted(runs, kind, weights) if has[kind] else None
        for kind in ("velocities", "positions")
    }
    dipole = flows["positions"] or _integrated(flows["velocities"])
    return ChargeFlow(FORMAL, flows["velocities"], dipole)


def parse_formal(assignments: Sequence[str]) -> dict[str, float]:
    """Charges by element from `ELEMENT=CHARGE`.

    Raises:
        InputError: an unknown element, a charge that is no finite number, or an element given
            twice.
    """
    from ase.data import chemical_symbols

    charges: dict[str, float] = {}
    for assignment in assignments:
        element, equals, text = assignment.partition("=")
        if not equals or element not in chemical_symbols[1:]:
            raise InputError(f"--formal {assignment}: expected ELEMENT=CHARGE, as in O=-2")
        if element in charges:
            raise InputError(f"--formal {assignment}: {element} is given twice; keep one")
        charges[element] = _finite(assignment, text)
    return charges


def _finite(assignment: str, text: str) -> float:
    try:
        charge = float(text)
    except ValueError:
        charge = math.nan
    if not math.isfinite(charge):
        raise InputError(f"--formal {assignment}: '{text}' is not a finite number (e)")
    return charge


def _atom_charges(run: Run, charges: dict[str, float]) -> Float[np.ndarray, " atoms"]:
    from ase.data import chemical_symbols

    present = [chemical_symbols[z] for z in run.numbers]
    if set(present) != set(charges):
        raise InputError(
            f"--formal gives charges of {', '.join(sorted(charges))}; {run.path} holds "
            f"{', '.join(sorted(set(present)))}: give one to every element there"
        )
    values = np.array([charges[symbol] for symbol in present])
    if not abs(values.sum()) <= _NEUTRAL:
        raise InputError(
            f"--formal: the charges in {run.path} add up to {values.sum():.6g} e; they must be "
            "neutral together"
        )
    return values


def _sampled(runs, kind, scale) -> Sampled:
    records = [run.read(kind, least=LEAST_FRAMES) for run in runs]
    return Sampled([scale * record.values for record in records], same_interval(records, runs))


def _weighted(runs, kind, weights) -> Sampled:
    records = [
        weighted_sum(run, kind, charges, LEAST_FRAMES)
        for run, charges in zip(runs, weights, strict=True)
    ]
    return Sampled([record.values for record in records], same_interval(records, runs))


def _integrated(current: Sampled) -> Sampled:
    parts = [cumulative(part, current.interval) for part in current.parts]
    return Sampled(parts, current.interval)
