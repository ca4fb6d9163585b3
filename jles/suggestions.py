"""What was probably meant by a key, a value or an option that jles does not know."""

import difflib
from collections.abc import Collection, Iterable, Mapping

_OTHER_KEYS = {
    "dipole": ("polarization", ""),
    "lr": ("learning_rate", ""),
    "dl": ("k_max", " (2π/dl)"),
}
"""The keys of jles, with a remark, by names that other programs use."""

_OTHER_VALUES = {"nvt": ("langevin", "nose-hoover")}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest known name; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


_MOST_PLACES = 3
"""A key of more sections, such as `kind`, says nothing about which one was meant."""


def meant_key(
    name: str,
    keys: Collection[str],
    inner: Mapping[str, Collection[str]],
    outer: Mapping[str, Collection[str]] = {},
) -> str:
    """The key that was meant instead of `name`; empty if none is near.

    Args:
        name: an unknown key.
        keys: that are known at its place.
        inner: keys that are known below, by the dotted key that holds them.
        outer: keys that are known elsewhere, by words for the place, e.g. "to 'loss'".
    """
    other, remark = _OTHER_KEYS.get(name, (name, ""))
    if other in keys:
        return f"did you mean '{other}'{remark}?"
    if places := _places(name, inner):
        return f"it belongs to {places}"
    if places := _places(other, inner):
        return f"did you mean '{other}'{remark} of {places}?"
    for key in (name, other):
        places = [place for place, known in outer.items() if key in known]
        if 0 < len(places) <= _MOST_PLACES:
            what = "it" if key == name else f"'{key}'{remark}"
            return f"{what} belongs {' or '.join(places)}"
    return did_you_mean(name, keys)


def _places(key: str, inner: Mapping[str, Collection[str]]) -> str:
    return " or ".join(repr(place) for place, known in sorted(inner.items()) if key in known)


def meant_value(value, choices: Collection[str]) -> str:
    """A question and a semicolon if `value` is another program's name of some choices."""
    if not isinstance(value, str):
        return ""
    others = map(repr, _OTHER_VALUES.get(value.lower(), ()))
    meant = [choice for choice in others if choice in choices]
    return f"did you mean {' or '.join(meant)}? " if meant else ""
