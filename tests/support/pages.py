"""The pages of the documentation, and the names in them."""

import importlib
import re
import typing

import msgspec

from tests.support.paths import ROOT

PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "jles").rglob("README.md"),
        *(
            ROOT / name
            for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "experiments/README.md")
            if (ROOT / name).exists()
        ),
    ]
)
"""Pages that speak of the present; the changelog also names what is gone."""

_FENCE = re.compile(r"^```(\w*)[^`\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(text: str, *languages: str) -> list[str]:
    """Code blocks in any of these languages."""
    return [body for language, body in _FENCE.findall(text) if language in languages]


def inline(text: str) -> list[str]:
    """Words set as code within prose and tables."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def command_lines(text: str) -> list[str]:
    """Commands of the program `jles`, with lines that a backslash continues joined."""
    shell = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    lines = [line.partition("#")[0].strip() for line in shell.splitlines()]
    lines += [code for code in inline(text) if "\n" not in code]
    return [line for line in lines if re.match(r"jles [a-z-]", line)]


def resolve(name: str):
    """What a dotted name such as `jles.units.COULOMB_CONSTANT` stands for.

    Raises:
        AttributeError: nothing.
    """
    module, *rest = name.split(".")
    value = importlib.import_module(module)
    for part in rest:
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(f"{value.__name__}.{part}")
            except ImportError:
                raise AttributeError(name) from None
    return value


def records_within(*starts) -> list[type]:
    """Configuration records and all records in their fields."""
    found, waiting = [], list(starts)
    while waiting:
        record = waiting.pop()
        if record not in found:
            found.append(record)
            waiting += [r for hint in hints(record).values() for r in records_of(hint)]
    return found


def hints(record) -> dict:
    """Types of the fields of a record."""
    return typing.get_type_hints(record)


def records_of(hint) -> list[type]:
    """Records within the type of a field."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [record for part in typing.get_args(hint) for record in records_of(part)]


def knows(record, path: list[str]) -> bool:
    """Whether a record has a key at the end of a path of keys."""
    if not path:
        return True
    fields = hints(record)
    if path[0] not in record.__struct_fields__:
        return path[0] == record.__struct_config__.tag_field and len(path) == 1
    inner = records_of(fields[path[0]])
    free = "dict" in str(fields[path[0]])
    return len(path) == 1 or free or any(knows(each, path[1:]) for each in inner)


def fits(record, values: dict) -> bool:
    """Whether all keys of a mapping, and of the mappings in it, are keys of the record."""
    for key, value in values.items():
        if not knows(record, [str(key)]):
            return False
        if isinstance(value, dict) and key in record.__struct_fields__:
            inner = records_of(hints(record)[key])
            if inner and not any(fits(each, value) for each in inner):
                return False
    return True
