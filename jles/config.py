"""Strict records from YAML: unknown keys, wrong types and bad values are errors in words."""

import contextlib
import dataclasses
import difflib
import types
import typing
from pathlib import Path

import yaml

from jles.errors import InputError


def from_dict(record_type, values, where: str):
    """Builds the frozen dataclass `record_type` from nested plain values.

    Args:
        record_type: a dataclass; nested dataclasses, tuples, dicts, optionals and Literals are
            understood.
        values: what YAML gave.
        where: how to name the place in an error, e.g. "train.yaml: loss".

    Raises:
        InputError: a key that does not exist (the nearest one is suggested), a missing key, a
            value of the wrong type, or one that the record itself refuses (a refusal that
            begins with "key: " is about that key).
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected keys and values, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(record_type)}
    hints = typing.get_type_hints(record_type)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(fields)}"
            raise InputError(f"{where}: unknown key '{key}'; {hint}")
    arguments = {}
    for name, spec in fields.items():
        place = f"{where}.{name}"
        if name in values:
            arguments[name] = _convert(hints[name], values[name], place)
        elif (
            spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        ):
            raise InputError(f"{where}: missing key '{name}' ({_describe(hints[name])})")
    try:
        return record_type(**arguments)
    except InputError as error:
        names_its_key = str(error).partition(": ")[0] in fields
        raise InputError(f"{where}{'.' if names_its_key else ': '}{error}") from None


def to_dict(record) -> dict:
    """Plain nested values of a dataclass, ready for YAML; tuples become lists."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(record))


def read_yaml(path) -> dict:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, is not YAML, gives a key twice, or holds no mapping.
    """
    path = Path(path)
    try:
        values = _load_yaml(path.read_text(encoding="utf-8"))
    except InputError as error:
        raise InputError(f"{path}, {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not valid YAML: {line}") from None
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: expected keys and values at the top, got {type(values).__name__}"
        )
    return values


def override(values: dict, assignments) -> dict:
    """A copy of `values` with `a.b=value` assignments made; values are parsed as YAML.

    Raises:
        InputError: an assignment without `=`, a path that runs through a plain value, or a value
            that is not YAML.
    """
    result = to_nested_copy(values)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise InputError(f"--set {assignment}: expected a.b=value")
        try:
            value = _load_yaml(text)
        except InputError as error:
            raise InputError(f"--set {assignment}: {error}") from None
        except yaml.YAMLError:
            raise InputError(f"--set {assignment}: '{text}' is not a YAML value") from None
        *parents, last = path.split(".")
        node = result
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise InputError(f"--set {assignment}: '{key}' holds a value, not keys")
        node[last] = value
    return result


def to_nested_copy(values):
    """A deep copy of nested dicts and lists."""
    if isinstance(values, dict):
        return {key: to_nested_copy(item) for key, item in values.items()}
    if isinstance(values, list):
        return [to_nested_copy(item) for item in values]
    return values


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML lets the last one win without a word."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        first_lines = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in first_lines:
                raise InputError(
                    f"line {line}: '{key.value}' is given twice (first in line "
                    f"{first_lines[name]}); keep one"
                )
            first_lines[name] = line
        return node


def _load_yaml(text: str):
    # A subclass of the safe loader builds plain values only.
    return yaml.load(text, Loader=_UniqueKeys)


_PARTS = {"keys and values": dict, "a list": (list, tuple)}


def _kind(hint) -> str:
    """What a value with parts is called; empty for a plain value."""
    if dataclasses.is_dataclass(hint) or typing.get_origin(hint) is dict:
        return "keys and values"
    return "a list" if typing.get_origin(hint) is tuple else ""


def _describe(hint) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(choice) for choice in arguments)
    if origin is typing.Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if hint is type(None):
        return "null"
    return _kind(hint) or hint.__name__


def _convert(hint, value, where):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        choices = ", ".join(repr(a) for a in arguments)
        raise InputError(f"{where}: got {value!r}; choose one of {choices}")
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, {} if value is None else value, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected keys and values, got {value!r}")
        return {
            _convert(arguments[0], k, where): _convert(arguments[1], v, f"{where}.{k}")
            for k, v in value.items()
        }
    return _convert_scalar(hint, value, where)


def _convert_union(choices, value, where):
    if value is None and type(None) in choices:
        return None
    # A value with parts is meant as the alternative with such parts, whose words say more.
    for choice in choices:
        if isinstance(value, _PARTS.get(_kind(choice), ())):
            return _convert(choice, value, where)
    for choice in choices:
        with contextlib.suppress(InputError):
            return _convert(choice, value, where)
    expected = " or ".join(_describe(choice) for choice in choices)
    raise InputError(f"{where}: expected {expected}, got {value!r}")


def _convert_tuple(arguments, value, where):
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: expected a list, got {value!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], v, f"{where}[{n}]") for n, v in enumerate(value))
    if len(arguments) != len(value):
        raise InputError(f"{where}: expected {len(arguments)} values, got {len(value)}")
    return tuple(
        _convert(a, v, f"{where}[{n}]")
        for n, (a, v) in enumerate(zip(arguments, value, strict=True))
    )


def _convert_scalar(hint, value, where):
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text; people write it as a number.
        with contextlib.suppress(ValueError):
            value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise InputError(f"{where}: expected {_describe(hint)}, got {value!r}")
    return value
