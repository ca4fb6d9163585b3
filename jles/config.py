"""Configurations: frozen records that are read from YAML with strict keys, types and ranges.

A configuration is a subclass of `Config`; msgspec checks it. Alternatives form a union of
records, distinguished by the key `kind`; the first record of a union is the default kind. Every
error is one line: file, key, value, and what would be right.
"""

import contextlib
import re
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from jles.errors import ConfigError, InputError
from jles.strict_yaml import load_yaml
from jles.suggestions import meant_key, meant_value


class _FrozenDict(dict):
    """A dict that cannot be changed and has a hash, as the values of a configuration."""

    def __hash__(self):
        return hash(frozenset(self.items()))

    def __reduce__(self):
        return type(self), (dict(self),)

    def _refuse(self, *_, **__):
        raise TypeError("a configuration is immutable; make another one with `replace`")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, cache_hash=True):
    """Base of all configurations: immutable, hashable, checked however it is made.

    In files as in Python, mappings may stand for records, and lists and arrays for tuples.

    A record of a union is declared with `tag_field="kind", tag=...`. A `__post_init__` that
    checks keys against each other calls that of its base class first. It raises a
    `ConfigError`, whose message begins with the key, or an `InputError` about the whole record.
    """

    def __post_init__(self):
        for name, hint in _types(type(self)).items():
            with under_key(name):
                value = _complete(hint, getattr(self, name))
            value = _convert(value, hint, name, ConfigError)
            value = _FrozenDict(value) if isinstance(value, dict) else value
            msgspec.structs.force_setattr(self, name, value)

    @property
    def kind(self) -> str | None:
        """The tag of the record in its union; None outside unions."""
        return self.__struct_config__.tag

    def replace(self, **changes) -> "Config":
        """A copy with other values of some keys, checked."""
        return msgspec.structs.replace(self, **changes)

    @classmethod
    def upgrade(cls, values: dict) -> dict:
        """Values as old versions wrote them -> values of this version."""
        return values


def count(most: int, least: int = 1) -> Any:
    """The type of a whole number within limits."""
    return Annotated[int, Meta(ge=least, le=most)]


def positive(most: float, unit: str = "") -> Any:
    """The type of a positive number up to `most`."""
    return Annotated[float, Meta(gt=0.0, le=most, description=unit)]


Finite = Annotated[float, Meta(ge=-1e9, le=1e9)]
Seed = count(2**63 - 1, least=0)


def from_dict(record, values, where: str):
    """Builds the configuration `record` from nested plain values.

    Args:
        record: a subclass of `Config`, or a union of such.
        values: what YAML gave.
        where: names the place in errors, e.g. "train.yaml".

    Raises:
        InputError: an unknown key (with the nearest known one), a missing key, a value of the
            wrong type or out of range, or keys that contradict each other.
    """
    if isinstance(values, Mapping):
        try:
            values = _complete(record, values)
        except InputError as error:
            raise InputError(_joined(where, error)) from None
    return _convert(values, record, where, InputError)


@contextlib.contextmanager
def under_key(key: str) -> Iterator[None]:
    """Puts a key before the errors of what it gives."""
    try:
        yield
    except InputError as error:
        raise ConfigError(_joined(key, error)) from None


def _joined(place: str, error: InputError) -> str:
    """The message of an error inside a file or under a key."""
    return f"{place}{'.' if isinstance(error, ConfigError) else ': '}{error}"


def to_dict(record) -> dict:
    """Plain nested values of a configuration, ready for YAML or JSON; lists are tuples."""
    return msgspec.to_builtins(record)


def read_yaml(path) -> dict:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, is not YAML, gives a key twice, is too large with its
            aliases written out, or holds no mapping.
    """
    path = Path(path)
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except InputError as error:
        raise InputError(f"{path}, {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not valid YAML: {line}") from None
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: expected keys and values at the top, got {type(values).__name__}"
        )
    return values


def override(values: dict, assignments: Iterable[str]) -> dict:
    """A copy of `values` with `a.b=value` assignments made; values are parsed as YAML.

    Raises:
        InputError: an assignment without `=`, a path that runs through a plain value, or a
            value that is not YAML.
    """
    result = to_nested_copy(values)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise InputError(f"--set {assignment}: expected a.b=value")
        try:
            value = load_yaml(text)
        except InputError as error:
            raise InputError(f"--set {assignment}: {error}") from None
        except (yaml.YAMLError, ValueError):
            raise InputError(f"--set {assignment}: '{text}' is not a YAML value") from None
        if isinstance(value, dict) and not text.lstrip().startswith("{"):
            value = text  # a name with a colon at its end, as data.xyz@10:
        *parents, last = path.split(".")
        node = result
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise InputError(f"--set {assignment}: '{key}' holds a value, not keys")
        node[last] = value
    return result


def to_nested_copy(values):
    """A copy of nested mappings and lists as dicts and lists, arrays as lists."""
    if isinstance(values, Mapping):
        return {key: to_nested_copy(item) for key, item in values.items()}
    if isinstance(values, list | tuple):
        return [to_nested_copy(item) for item in values]
    return values.tolist() if hasattr(values, "tolist") else values


def first_difference(one, other, name: str = "") -> tuple | None:
    """Dotted key and both values of the first entry that differs between nested dicts.

    The kind of a section comes first: other kinds have other keys.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(set(one) | set(other), key=lambda key: (key != "kind", key)):
            found = first_difference(one.get(key), other.get(key), f"{name}.{key}".strip("."))
            if found:
                return found
        return None
    return None if one == other else (name, one, other)


@cache
def _types(record: type[Config]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(record)}


def _inside(hint) -> Iterable:
    """A type and everything it is made of: alternatives, items, limits, choices."""
    yield hint
    for part in typing.get_args(hint):
        yield from _inside(part)


def _records(hint) -> list[type[Config]]:
    return [p for p in _inside(hint) if isinstance(p, type) and issubclass(p, Config)]


def _record(hint, values) -> type[Config] | None:
    """The record that a mapping is meant as: that of its kind, else the first one."""
    records = _records(hint)
    kind = values.get("kind") if isinstance(values, Mapping) else None
    of_kind = (one for one in records if one.__struct_config__.tag == kind)
    return next(of_kind, records[0] if records else None)


def _complete(hint, values):
    """Brings old values up to date; adds kinds that are left out and records that are null."""
    record = _record(hint, values)
    if values is None and record and type(None) not in _inside(hint):
        values = {}
    if record is None or not isinstance(values, Mapping):
        return values
    values = record.upgrade({str(key): value for key, value in values.items()})
    record = _record(hint, values)
    tag, types = record.__struct_config__.tag, _types(record)
    complete = {"kind": tag} if tag else {}
    for key, value in values.items():
        with under_key(key):
            complete[key] = _complete(types.get(key), value)
    return complete


def _convert(value, hint, place: str, mistake: type[InputError]):
    """A value as its type; msgspec's errors know neither the value nor what would be right.

    Args:
        value: plain, perhaps nested values.
        hint: the type.
        place: a file, or the key of the value.
        mistake: what is raised; `ConfigError` if `place` is a key.
    """
    value = to_nested_copy(value)
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        cause = error.__cause__
    whole, inside = _record(hint, value), []
    for key, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        if key:
            tags = tuple(record.__struct_config__.tag for record in _records(hint))
            types = {"kind": Literal[tags]} | _types(_record(hint, value))
            hint, value, place = types[key], value[key], f"{place}.{key}"
            inside.append(key)
        elif index != "...":
            value, place = value[int(index)], f"{place}[{index}]"
    if path.startswith("key`") or path.endswith("[...]`"):
        (table,) = (part for part in _inside(hint) if typing.get_origin(part) is dict)
        keys, items = typing.get_args(table)
        for key, item in value.items():
            _convert(key, keys, f"{place} (a key)", mistake)
            _convert(item, items, f"{place}.{key}", mistake)
    record = _record(hint, value)
    if isinstance(cause, InputError):
        raise mistake(_joined(place, cause))
    outer = _outer_keys(whole, inside)
    raise mistake(f"{place}: {_in_words(message, value, hint, record, outer)}")


def _in_words(message: str, value, hint, record, outer) -> str:
    """Says what is wrong, and what would be right."""
    kind, _, name = message.rstrip("`").partition(" field `")
    if kind == "Object contains unknown":
        return _of_another_kind(value, hint, record) or (
            f"unknown key {name!r}; {_known_keys(name, record, outer)}"
        )
    if kind == "Object missing required":
        hint = _types(record).get(name)
        choices = ", ".join(_choices(hint))
        return f"missing key '{name}'{_unit(hint) or (choices and f' (one of {choices})')}"
    choices, wanted = _choices(hint), message.partition(", got ")[0]
    shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
    if choices and ("Invalid" in message or "`str" in wanted):
        choices += _beside_choices(hint)
        return f"got {shown}; {meant_value(value, choices)}choose one of {', '.join(choices)}"
    wanted = wanted.replace("`", "").removeprefix("Expected ")
    for theirs, ours in _WORDS.items():
        wanted = wanted.replace(theirs, ours)
    if wanted == "a list" and (length := _length(hint)):
        wanted = f"a list of length {length}"
    elif wanted == "a list" and choices:
        wanted = f"a list of {', '.join(choices)}"
    kinds = [one.__struct_config__.tag for one in _records(hint)]
    remedy = f"; write {{kind: {value}}}" if value is not None and value in kinds else ""
    return f"expected {wanted}{_unit(hint)}, got {shown}{remedy}"


def _of_another_kind(values: Mapping, hint, record) -> str:
    """A line on keys that other records of the union have; empty if there are further ones.

    Such keys are left where a kind is changed, by hand or with `--set`.
    """
    unknown = [key for key in values if key != "kind" and key not in _types(record)]
    having = [other for other in _records(hint) if set(unknown) <= _types(other).keys()]
    kinds = [repr(tag) for other in having if (tag := other.__struct_config__.tag)]
    if not kinds:
        return ""
    named, it = ("key", "it belongs") if len(unknown) == 1 else ("keys", "they belong")
    names, all_keys = ", ".join(map(repr, unknown)), _all_keys(record)
    return f"unknown {named} {names}; {it} to kind {' or '.join(kinds)}; {all_keys}"


def _known_keys(name: str, record, outer) -> str:
    """The key that was meant instead of `name`, where it belongs, or all keys."""
    return meant_key(name, _keys(record), _inner_keys(record), outer) or _all_keys(record)


def _keys(record) -> list[str]:
    return [*_types(record), "kind"] if record.__struct_config__.tag else list(_types(record))


def _inner_keys(record) -> dict[str, set[str]]:
    """Keys of all records inside a record, by the dotted key that holds them."""
    found: dict[str, set[str]] = {}
    for name, hint in _types(record).items():
        for inner in _records(hint):
            found[name] = found.get(name, set()).union(_keys(inner))
            for place, keys in _inner_keys(inner).items():
                below = f"{name}.{place}"
                found[below] = found.get(below, set()) | keys
    return found


def _outer_keys(whole, inside: list[str]) -> dict[str, Collection[str]]:
    """Keys of the record `whole` outside of the section `inside`, by words for their place."""
    if whole is None or not inside:
        return {}
    sections = {
        f"to {place!r}": keys
        for place, keys in _inner_keys(whole).items()
        if place != ".".join(inside)
    }
    return {f"beside {inside[0]!r}, not inside of it": _keys(whole), **sections}


def _all_keys(record) -> str:
    tag, keys = record.__struct_config__.tag, _types(record)
    of_kind = f" of kind '{tag}'" if tag else ""
    return f"known keys{of_kind}: {', '.join(keys) or 'none'}"


def _choices(hint) -> list[str]:
    return [repr(part) for part in _inside(hint) if isinstance(part, str | int)]


def _beside_choices(hint) -> list[str]:
    """What else a hint allows than its choices, in words."""
    parts = typing.get_args(hint)
    bare = [typing.get_args(p)[0] if typing.get_origin(p) is Annotated else p for p in parts]
    plain = [typing.get_origin(part) or part for part in bare]
    words = {int: "a whole number", dict: "keys and values", type(None): "null"}
    return [text for kind, text in words.items() if kind in plain]


def _length(hint) -> int | None:
    """Number of items of the tuples that `hint` allows; None if it is not fixed."""
    for part in _inside(hint):
        if typing.get_origin(part) is tuple:
            items = typing.get_args(part)
            return None if Ellipsis in items else len(items)
    return None


_WORDS = {
    "object": "keys and values",
    "array": "a list",
    " |": " or",
    "Number out of range": "a smaller number",
}


def _unit(hint) -> str:
    metas = (part for part in _inside(hint) if isinstance(part, Meta) and part.description)
    return next((f" ({meta.description})" for meta in metas), "")
