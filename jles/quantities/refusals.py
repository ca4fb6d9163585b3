"""Rules of which models have a quantity: they return a reason against it, or None.

A rule takes the model's config, the periodic directions (None: any structure) and whether a
field acts. A reason completes the sentence that begins with the name of the quantity.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

Periodic = Sequence[bool] | Bool[np.ndarray, " 3"]
"""The periodic directions."""

Rule = Callable[[object, Periodic | None, bool], str | None]

_METAL = (
    "of a crystal has no bulk meaning: with charges.kind 'equilibrated', or charge_softness in "
    "response.mode 'self-consistent', charge flows through it as through a metal"
)


def _is_equilibrated(config) -> bool:
    return config.charges is not None and config.charges.kind == "equilibrated"


def is_metallic(config) -> bool:
    """Whether charge flows through the model's crystals until no field is left in them."""
    if _is_equilibrated(config):
        return True
    return config.charge_softness is not None and config.response.mode == "self-consistent"


def refuse_field(config, pbc: Periodic) -> str | None:
    """The reason why no field can act with these periodic directions; None if it can."""
    if config.charges is None:
        return "field: the model has no charges for it to act on (charges is null)"
    if config.charge_softness is None or not any(pbc):
        return None
    if is_metallic(config):
        return (
            "field: self-consistent charge_softness makes a metal of a crystal, "
            "which screens it"
        )
    return None if all(pbc) else "field: not available in slabs for models with charge_softness"


def head(*names: str) -> Rule:
    """Needs one of these heads, and latent charges in any case."""

    def rule(config, pbc, in_field):
        for needed in (("charges",), names):
            if needed and all(getattr(config, name) is None for name in needed):
                listed = " or ".join(f"'{name}'" for name in needed)
                return f"needs latent {needed[0]} (the head {listed}), which the model lacks"
        return None

    return rule


def clusters_only(config, pbc, in_field):
    """A moment without a branch."""
    if pbc is not None and any(pbc):
        return "is that of a cluster; ask for 'polarization'"
    return None


def periodic_only(config, pbc, in_field):
    """At least two periodic directions."""
    if pbc is not None and not any(pbc):
        return "of a structure that is not periodic has no meaning"
    return None


def crystals_only(config, pbc, in_field):
    """Three periodic directions."""
    if pbc is not None and not all(pbc):
        return "is that of a crystal, periodic in three directions"
    return None


def bulk_response(config, pbc, in_field):
    """A property that a metal lacks: a response of the bulk to a field or a displacement."""
    if pbc is not None and any(pbc) and is_metallic(config):
        return _METAL
    return None


def bulk_polarization(config, pbc, in_field):
    """The same, of the polarization, which soft charges of a slab do not give."""
    if pbc is None or not any(pbc):
        return None
    if is_metallic(config):
        return _METAL
    if config.charge_softness is not None and not all(pbc):
        return "of a slab is not available for models with charge_softness"
    return None


def strain_response(config, pbc, in_field):
    """The change of polarization with strain, which is not known of soft charges."""
    if config.charge_softness is not None:
        return (
            "needs a model without charge_softness: how soft charges change with strain in a "
            "field is not known"
        )
    return None


def stress_in_field(config, pbc, in_field):
    """The stress of a field contains the response to strain."""
    if not in_field or pbc is None:
        return None
    if any(pbc) and not all(pbc):
        return "of a slab in a field is not known; leave one of them out"
    return strain_response(config, pbc, in_field)


def polarizable(config, pbc, in_field):
    """Something that responds to a field; in a crystal more than soft charges."""
    if config.polarizability is not None:
        return None
    if config.charge_softness is None and not _is_equilibrated(config):
        return (
            "needs something that responds to a field (the head 'polarizability'), which the "
            "model lacks"
        )
    if pbc is not None and any(pbc):
        return (
            "of a crystal needs the head 'polarizability': soft charges have none in the bulk"
        )
    return None
