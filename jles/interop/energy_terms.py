"""The read-outs that make up the total energy of a checkpoint, and their weights.

The output modules are visited in the order in which the reference runs them. A table maps every
output key to the terms that it is the sum of. The total must consist of one short-range term
and at most one lattice sum.
"""

from dataclasses import dataclass, replace

import numpy as np

from jles.interop.module_tree import Module
from jles.interop.pickle_records import Global

_TOTAL = "CACE_energy"


@dataclass(frozen=True)
class Terms:
    """The parts of a model: the backbone, its read-outs and the lattice sum, with weights."""

    backbone: Module
    short_range: Module
    short_range_weight: float = 1.0
    charges: Module | None = None
    ewald: Module | None = None
    long_range_weight: float = 1.0


@dataclass(frozen=True)
class _Term:
    """One term: the energies of an Atomwise, or the lattice sum `ewald` of its charges."""

    atomwise: Module
    ewald: Module | None = None
    weight: float = 1.0


def total_energy_terms(model: Module) -> Terms:
    """Finds the terms of the total energy of a potential or a combined potential.

    Raises:
        InputError: a class, key or combination that jles does not support, named.
    """
    if model.kind.endswith(".CombinePotential"):
        backbone, terms = _combined_terms(model)
    elif model.kind.endswith(".NeuralNetworkPotential"):
        backbone, terms = _single_terms(model, None)
    else:
        raise model.error("", f"a {model.kind} is not a potential; give a whole saved model")
    short = [term for term in terms if term.ewald is None]
    long = [term for term in terms if term.ewald is not None]
    if len(short) != 1 or len(long) > 1:
        raise model.error(
            "",
            f"the energy has {len(short)} short-range and {len(long)} long-range terms; "
            "jles supports one and at most one",
        )
    result = Terms(backbone, short[0].atomwise, short[0].weight)
    if not long:
        return result
    return replace(
        result,
        charges=long[0].atomwise,
        ewald=long[0].ewald,
        long_range_weight=long[0].weight,
    )


def _combined_terms(model: Module):
    """Weighted sum over the members of a combined potential."""
    operation = model.find("operation")
    if operation != Global("cace.models.combined.default_operation"):
        raise model.error("operation", "only the sum (default_operation) is supported")
    members = model.module("models").children()
    keys = model.get("potential_keys", list)
    if len(keys) != len(members) or not all(isinstance(entry, dict) for entry in keys):
        problem = f"expected one dict for each of {len(members)} models"
        raise model.error("potential_keys", problem)
    backbones, total = [], []
    for member, entry in zip(members, keys, strict=True):
        weight, key = entry.get("weight", 1.0), entry.get(_TOTAL)
        weight = np.asarray(weight).item() if np.size(weight) == 1 else weight
        if type(weight) not in (int, float) or not np.isfinite(weight):
            shown = str(weight)[:60]
            problem = f"weight {shown!r} of {str(key)[:60]!r} is not one finite number"
            raise model.error("potential_keys", problem)
        if not isinstance(key, str):
            raise model.error("potential_keys", f"a model has no key for {_TOTAL}")
        backbone, terms = _single_terms(member, key)
        backbones.append(backbone)
        total += [replace(term, weight=term.weight * float(weight)) for term in terms]
    if not members or any(b.record is not backbones[0].record for b in backbones):
        raise model.error("models", "members do not share one representation: not supported")
    return backbones[0], total


def _single_terms(model: Module, total_key: str | None):
    """Backbone of one network and the terms of `total_key` (by default that of its forces)."""
    if not model.kind.endswith(".NeuralNetworkPotential"):
        raise model.error("", f"a {model.kind} inside a combined model is not supported")
    _refuse_other_inputs(model)
    energies: dict[str, list[_Term]] = {}
    charges: dict[str, Module] = {}
    forces_of = None
    for module in model.module("output_modules").children():
        name = module.kind.rsplit(".", 1)[-1]
        if name == "Forces":
            forces_of = module.get("energy_key", str, _TOTAL)
        elif name in _ENERGY_MODULES:
            _ENERGY_MODULES[name](module, energies, charges)
        elif name not in ("Polarization", "Grad", "Dephase"):
            raise module.error("", f"{module.kind} is not supported as an output module")
    key = total_key or forces_of or _TOTAL
    if key not in energies:
        raise model.error("output_modules", f"no module gives the energy '{key}'")
    return model.module("representation", ".Cace"), energies[key]


def _refuse_other_inputs(model: Module):
    if model.find("input_modules") is not None:
        for module in model.module("input_modules").children():
            if not module.kind.endswith(".Preprocess"):
                raise module.error("", f"{module.kind} is not supported as an input module")
    if model.find("postprocessors") is not None and model.module("postprocessors").children():
        raise model.error("postprocessors", "not supported; only models without them")


def _atomwise(module: Module, energies, charges):
    module.refuse_unless("aggregation_mode", "sum")
    energies[module.get("output_key", str)] = [_Term(module)]
    per_atom = module.get("per_atom_output_key", str, None)
    if per_atom is not None:
        charges[per_atom] = module


def _ewald(module: Module, energies, charges):
    source = module.get("feature_key", str)
    if source not in charges:
        raise module.error(
            "feature_key", f"'{source}' is not the per-atom output of a read-out"
        )
    module.refuse_unless("compute_field", False)
    key = module.get("output_key", str)
    energies[key] = [_Term(charges[source], module)]


def _les(module: Module, energies, charges):
    del charges
    module.refuse_unless("compute_energy", True)
    module.refuse_unless("feature_key", "node_feats", ["node_feats"])
    les = module.module("les", "les.les.Les")
    les.refuse_unless("use_atomwise", True)
    les.refuse_flags("use_atomwise")
    key = module.get("energy_key", str, "ewald_potential")
    energies[key] = [_Term(les.module("atomwise"), les.module("ewald"))]


def _feature_add(module: Module, energies, charges):
    del charges
    total = []
    for key in module.get("feature_keys", list):
        if not isinstance(key, str) or key not in energies:
            raise module.error(
                "feature_keys", f"{str(key)[:60]!r} is not the energy of a module"
            )
        total += energies[key]
    energies[module.get("output_key", str)] = total


_ENERGY_MODULES = {
    "Atomwise": _atomwise,
    "EwaldPotential": _ewald,
    "LesWrapper": _les,
    "FeatureAdd": _feature_add,
}
