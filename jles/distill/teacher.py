"""The teacher: an ASE calculator, found by its name."""

import difflib
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import get_calculator_class

from jles.data.shards.build import digest
from jles.errors import InputError
from jles.predict.model import load_model


class Teacher(NamedTuple):
    """A calculator, and its name as given by the user."""

    name: str
    calculator: GetPropertiesMixin


def load_teacher(name: str, arguments: Mapping[str, Any]) -> Teacher:
    """Finds or makes the calculator that a name stands for.

    Only the module that is named is imported; the current folder is searched last.

    Args:
        name: a jles model directory; `package.module:name` or `package.module.Name` of an ASE
            calculator or a function that returns one; or ASE's own name of a calculator.
        arguments: of the class or function, or of `jles.load`.

    Raises:
        InputError: nothing of this name, it cannot be imported or called, or it gives no ASE
            calculator.
    """
    if Path(name).exists():
        made = _called(name, partial(load_model, name), arguments)
        return Teacher(name, made.calculator())
    found = _found(name)
    if isinstance(found, GetPropertiesMixin):
        return Teacher(name, found)
    if not callable(found):
        raise InputError(f"teacher {name}: is a {type(found).__name__}, not a calculator")
    made = _called(name, found, arguments)
    if not isinstance(made, GetPropertiesMixin):
        kind = type(made).__name__
        raise InputError(f"teacher {name}: gives a {kind}; an ASE calculator was expected")
    return Teacher(name, made)


def teacher_digest(name: str) -> str | None:
    """A digest of the model directory `name`; None for a calculator, whose name suffices.

    The `config.yaml` of a model holds the digest of its parameters.
    """
    folder = Path(name)
    return digest(folder / "config.yaml") if folder.exists() else None


def _found(name: str):
    """The object that a name without a directory stands for."""
    module, colon, path = name.partition(":")
    if not colon:
        module, dot, path = name.rpartition(".")
        if not dot:
            return _of_ase(name)
    with _importing(name, module):
        found = importlib.import_module(module)
    for part in path.split("."):
        if part not in dir(found):
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(f"teacher {name}: {module} has no '{part}'{hint}")
        found = getattr(found, part)
    return found


def _of_ase(name: str):
    with _importing(name, f"the calculator '{name}' of ASE"):
        try:
            return get_calculator_class(name)
        except ModuleNotFoundError as error:
            if error.name != f"ase.calculators.{name}":
                raise
    raise InputError(
        f"teacher {name}: neither a model directory nor a calculator of ASE; others are named "
        "as package.module:name"
    )


@contextmanager
def _importing(name: str, what: str) -> Iterator[None]:
    """Finds modules in the current folder as well; errors become one line."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"teacher {name}: cannot import {what} ({reason}); is it installed?"
        ) from None
    except Exception as error:
        raise InputError(f"teacher {name}: {what} fails ({in_words(error)})") from None
    finally:
        sys.path.remove(here)


def _called(name: str, make, arguments: Mapping[str, Any]):
    try:
        return make(**arguments)
    except InputError:
        raise
    except Exception as error:
        given = ", ".join(arguments) or "none"
        raise InputError(
            f"teacher {name}: cannot be made ({in_words(error)}); arguments in the key "
            f"teacher: {given}"
        ) from None


def in_words(error: Exception) -> str:
    """Kind and message of an exception from other code, in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
