"""The page of all keys of training and run files, from their records."""

import inspect
import re

import msgspec
from msgspec import inspect as types

from jles.distill.config import DistillConfig
from jles.dynamics.config import MdConfig
from jles.train.config import TrainConfig

_HEAD = """# All keys

This page is generated from the records that check the files. It lists every key with its
default and the values that are allowed. [The training file](../config.md),
[molecular dynamics](../dynamics.md) and [distillation](../distill.md) explain what the keys
mean.
"""


_FILES = (
    ("Training file", TrainConfig),
    ("Run file", MdConfig),
    ("Distillation file", DistillConfig),
)

# Limits beyond this one only catch nonsense.
_NO_LIMIT = 2**31 - 1


def page() -> str:
    """Markdown with a section for every record."""
    lines, seen = [_HEAD], set()
    for title, record in _FILES:
        lines += [f"\n## {title}\n"]
        lines += list(_record(record, seen))
    return "\n".join(lines)


def records(start) -> list:
    """A record and all records within it, each once."""
    found, waiting = [], [start]
    while waiting:
        record = waiting.pop(0)
        if record in found:
            continue
        found.append(record)
        for field in types.type_info(record).fields:
            waiting += _inner(field.type)
    return found


def _record(start, seen):
    for record in records(start):
        if record in seen:
            continue
        seen.add(record)
        yield f"### {record.__name__}\n"
        if record.__doc__:
            yield _plain(inspect.cleandoc(record.__doc__)) + "\n"
        tag = record.__struct_config__.tag
        if tag is not None:
            yield f"Chosen by `{record.__struct_config__.tag_field}: {tag}`.\n"
        fields = types.type_info(record).fields
        if not fields:
            continue
        yield "| key | default | allowed |"
        yield "|---|---|---|"
        for field in fields:
            yield f"| `{field.name}` | {_default(field)} | {_words(field.type)} |"
        yield ""


def _plain(text: str) -> str:
    """Text of a docstring as Markdown: sections of Google's style become bold words."""
    return re.sub(r"(?m)^(Attributes|Args|Raises|Returns):$", r"**\1**\n", text)


def _default(field) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        value = field.default
    if isinstance(value, msgspec.Struct):
        return f"a {type(value).__name__}"
    if isinstance(value, float):
        return f"`{value:.6g}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return "`null`" if value is None else f"`{value}`"


def _inner(kind) -> list:
    """Records within a type."""
    if isinstance(kind, types.StructType):
        return [kind.cls]
    if isinstance(kind, types.UnionType):
        return [record for part in kind.types for record in _inner(part)]
    if isinstance(kind, types.Metadata):
        return _inner(kind.type)
    parts = [getattr(kind, name, None) for name in ("item_type", "value_type")]
    return [record for part in parts if part is not None for record in _inner(part)]


def _words(kind) -> str:
    """A type in words."""
    if isinstance(kind, types.Metadata):
        return _words(kind.type)
    if isinstance(kind, types.UnionType):
        return " or ".join(_words(part) for part in kind.types)
    if isinstance(kind, types.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, types.StructType):
        return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
    if isinstance(kind, types.IntType | types.FloatType):
        name = "integer" if isinstance(kind, types.IntType) else "number"
        return name + _limits(kind)
    if isinstance(kind, types.DictType):
        return f"mapping of {_words(kind.key_type)} to {_words(kind.value_type)}"
    if isinstance(kind, types.VarTupleType | types.ListType | types.SetType):
        return f"list of {_words(kind.item_type)}"
    if isinstance(kind, types.TupleType):
        return "list of " + ", ".join(_words(part) for part in kind.item_types)
    names = {types.StrType: "text", types.BoolType: "`true`, `false`", types.NoneType: "`null`"}
    return names.get(type(kind), type(kind).__name__.removesuffix("Type").lower())


def _limits(kind) -> str:
    signs = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}
    parts = [
        f"{sign}{getattr(kind, name):.6g}"
        for name, sign in signs.items()
        if getattr(kind, name) is not None and abs(getattr(kind, name)) < _NO_LIMIT
    ]
    return f" {', '.join(parts)}" if parts else ""
