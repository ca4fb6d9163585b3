"""Reading attributes of pickled modules with errors that name the file and the attribute."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jles.errors import InputError
from jles.interop.pickle_records import Record

_TABLES = ("_modules", "_parameters", "_buffers")
_ABSENT = object()
_SHORT = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Module:
    """A pickled torch module, with the file and the dotted path at which it was found."""

    record: Record
    file: Path
    path: str = "model"

    @property
    def kind(self) -> str:
        """Dotted name of its class."""
        return self.record.class_name

    def error(self, name: str, problem: str) -> InputError:
        """An error about the attribute `name`, to be raised."""
        place = f"{self.path}.{name}" if name else self.path
        return InputError(" ".join(f"{self.file}: {place}: {problem}".split()))

    def find(self, name: str):
        """The submodule, tensor or plain attribute `name`; None where there is none."""
        for table in _TABLES:
            entries = self.record.state.get(table)
            if isinstance(entries, dict) and entries.get(name) is not None:
                return entries[name]
        return self.record.state.get(name)

    def get(self, name: str, kinds, default=_ABSENT):
        """The attribute `name`, one of `kinds`; `default` where it is absent or None."""
        value = self.find(name)
        if value is None and default is not _ABSENT:
            return default
        if value is None:
            raise self.error(name, "missing; not a model of a known version")
        # A bool is an int to Python; a flag where a number belongs is a damaged file.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self.error(name, f"{_show(value)} is not what such a model has there")
        return value

    def number(self, name: str, default=_ABSENT) -> float:
        """A finite plain number, or a tensor that holds one."""
        value = self.get(name, (int, float, np.ndarray), default)
        if value is None or np.size(value) != 1 or not np.isfinite(value):
            raise self.error(name, "expected one finite number")
        return float(np.asarray(value).item())

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A tensor with finite entries and, if given, this shape."""
        value = self.get(name, np.ndarray)
        if shape is not None and value.shape != shape:
            raise self.error(name, f"shape {value.shape} where {shape} belongs")
        if not np.all(np.isfinite(value)):
            raise self.error(name, "contains NaN or inf")
        return value

    def module(self, name: str, *kinds: str) -> "Module":
        """The submodule `name`; with `kinds`, of a class whose name ends so."""
        child = Module(self.get(name, Record), self.file, f"{self.path}.{name}")
        if kinds and not child.kind.endswith(kinds):
            raise child.error("", f"is a {child.kind}, expected {' or '.join(kinds)}")
        return child

    def children(self) -> list["Module"]:
        """The submodules of a list, in order; places that hold None are left out."""
        entries = self.get("_modules", dict)
        return [self.module(str(name)) for name, item in entries.items() if item is not None]

    def tensors(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """The tensors of a parameter list, in order, all of one shape."""
        return [self.array(str(n), shape) for n in range(len(self.get("_parameters", dict)))]

    def refuse_unless(self, name: str, *accepted):
        """Raises unless `name` is absent, None or one of the `accepted` plain values."""
        value = self.find(name)
        if value is not None and not any(_same(value, choice) for choice in accepted):
            good = " or ".join(map(_show, accepted)) or "none"
            raise self.error(name, f"{_show(value)} is not supported, only {good}")

    def refuse_flags(self, *known: str):
        """Raises if an attribute `use_...` is set that is not among the `known` ones."""
        for name, value in self.record.state.items():
            if name.startswith("use_") and name not in known and value not in (False, None):
                raise self.error(name, f"{_show(value)} is not supported, only False")


def _same(value, choice) -> bool:
    return type(value) is type(choice) and value == choice


def _show(value) -> str:
    if isinstance(value, Record):
        return f"a {value.class_name}"
    if isinstance(value, np.ndarray):
        return f"a tensor of shape {value.shape}"
    if isinstance(value, list | tuple) and len(value) <= 4:
        return "[" + ", ".join(map(_show_plain, value)) + "]"
    return _show_plain(value)


def _show_plain(value) -> str:
    return repr(value)[:60] if type(value) in _SHORT else f"a {type(value).__name__}"
