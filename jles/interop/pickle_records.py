"""A pickle reader that builds records and executes nothing.

A pickle is a program for a stack machine whose only dangerous instructions fetch a global and
call it. Here a global is a name looked up in a fixed table, and a call is one of the few
reconstructions of `CALLS`, written out below on plain values: no import, no attribute look-up
and no foreign callable is ever reached.
"""

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jles.errors import InputError


@dataclass(eq=False)
class Record:
    """An instance of a class that was pickled.

    Attributes:
        class_name: dotted.
        state: its attributes.
        arguments: what it was built with, for classes of `Vocabulary.values`.
    """

    class_name: str
    state: dict = field(default_factory=dict)
    arguments: tuple = ()


@dataclass(frozen=True)
class Global:
    """A class or function that the pickle names; only its name exists here."""

    name: str


@dataclass(eq=False)
class DtypeRecord:
    """A NumPy type code such as "i8"; the byte order is checked when its state arrives."""

    code: str


@dataclass(frozen=True)
class Vocabulary:
    """The names that a pickle may use: classes become records, functions stay names.

    Attributes:
        classes: built without arguments.
        functions: that are not called.
        values: classes built with arguments, such as tuples with named places.
        opaque: functions whose results are records without content.
    """

    classes: frozenset[str]
    functions: frozenset[str]
    values: frozenset[str] = frozenset()
    opaque: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.classes | self.functions | self.values | self.opaque


_MARK = object()
_MAX_KEY_DEPTH = 3
_MAX_KEY_LENGTH = 16
_MAX_DIMENSIONS = 16
_MAX_WORDS = 200
_MAX_BYTES = 2**20
_PLAIN = (str, int, float, bool, bytes, type(None))
_ALIASES = {
    "__builtin__.set": "builtins.set",
    "__builtin__.getattr": "builtins.getattr",
    "numpy._core.multiarray.scalar": "numpy.core.multiarray.scalar",
}


def read_records(data: bytes, vocabulary: Vocabulary, load_storage: Callable, where: str):
    """The object a pickle describes, in plain values, arrays and `Record`s.

    Args:
        data: the pickle, protocol 2 to 5.
        vocabulary: the globals it may name.
        load_storage: from a persistent id (a tuple) to a flat read-only array.
        where: how errors name the source.

    Raises:
        InputError: a global outside the vocabulary (named), an instruction that no published
            file uses, or a damaged program.
    """
    machine = _Machine(vocabulary, load_storage, where)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, UnicodeError, OverflowError) as error:
        raise InputError(
            f"{where}: damaged pickle ({type(error).__name__}); give the file as it was saved"
        ) from None
    return machine.result


class _Machine:
    """The stack, the memo and one method per family of instructions."""

    def __init__(self, vocabulary, load_storage, where):
        self.vocabulary, self.load_storage, self.where = vocabulary, load_storage, where
        self.stack, self.memo, self.result = [], {}, None

    def refuse(self, what: str):
        what = " ".join(what.split())[:_MAX_WORDS]
        raise InputError(f"{self.where}: {what} is refused; published models have none")

    def step(self, name: str, argument):
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            named = f" of '{argument.replace(' ', '.')}'" if name == "INST" else ""
            self.refuse(f"pickle instruction {name}{named}")

    def pop_to_mark(self) -> list:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def fetch_global(self, dotted: str):
        dotted = _ALIASES.get(dotted, dotted)
        if dotted not in self.vocabulary.names and dotted not in CALLS:
            self.refuse(f"global '{dotted}'")
        self.stack.append(Global(dotted))

    def global_from_stack(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            self.refuse("a global without a name")
        self.fetch_global(f"{module}.{name}")

    def new_object(self, _):
        arguments, kind = self.stack.pop(), self.stack.pop()
        known = self.vocabulary.classes | self.vocabulary.values
        if not (isinstance(kind, Global) and kind.name in known):
            self.refuse("an instance of something that is no known class")
        if kind.name in self.vocabulary.values and isinstance(arguments, tuple):
            self.stack.append(Record(kind.name, {}, arguments))
            return
        if arguments != ():
            self.refuse(f"'{kind.name}' built with arguments")
        self.stack.append(Record(kind.name))

    def call(self, _):
        arguments, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, Global) and function.name in self.vocabulary.opaque:
            self.stack.append(Record(function.name))
            return
        if not (isinstance(function, Global) and function.name in CALLS):
            called = function.name if isinstance(function, Global) else type(function).__name__
            self.refuse(f"a call of '{called}'")
        try:
            value = CALLS[function.name](*arguments)
        except (ValueError, TypeError):
            self.refuse(f"a call of '{function.name}' with such arguments")
        self.stack.append(value)

    def build(self, _):
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            if not all(isinstance(key, str) for key in state):
                self.refuse(f"'{target.class_name}' with an attribute that is no name")
            target.state.update(state)
        elif isinstance(target, DtypeRecord):
            if not (isinstance(state, tuple) and state[1:2] in (("<",), ("|",), ("=",))):
                self.refuse("a NumPy type that is not little-endian")
        elif not (isinstance(target, dict) and isinstance(state, dict)):
            # An OrderedDict may carry attributes (torch's `_metadata`), which are not needed.
            self.refuse(f"a state for a {type(target).__name__}")

    def set_items(self, pairs: list):
        target = self.stack[-1]
        if not isinstance(target, dict):
            self.refuse(f"an item of a {type(target).__name__}")
        target.update(zip(map(_key, pairs[::2]), pairs[1::2], strict=True))

    def append(self, items: list):
        target = self.stack[-1]
        if not isinstance(target, list):
            self.refuse(f"an element of a {type(target).__name__}")
        target.extend(items)

    def add(self, items: list):
        target = self.stack[-1]
        if not isinstance(target, set):
            self.refuse(f"an element of a {type(target).__name__}")
        target.update(map(_key, items))

    def make_tuple(self, count: int):
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        self.stack.append(tuple(items))

    def storage(self, _):
        self.stack.append(self.load_storage(self.stack.pop()))

    def pop(self) -> list:
        return [self.stack.pop()]

    def pop_pair(self) -> list:
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]

    def stop(self, _):
        self.result = self.stack.pop()


_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_LITERALS = {
    *("BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"),
}
_INSTRUCTIONS = {
    "GLOBAL": lambda m, name: m.fetch_global(name.replace(" ", ".")),
    "STACK_GLOBAL": _Machine.global_from_stack,
    "NEWOBJ": _Machine.new_object,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
    "STOP": _Machine.stop,
    "SETITEM": lambda m, _: m.set_items(m.pop_pair()),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "APPEND": lambda m, _: m.append(m.pop()),
    "APPENDS": lambda m, _: m.append(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.add(m.pop_to_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.make_tuple(1),
    "TUPLE2": lambda m, _: m.make_tuple(2),
    "TUPLE3": lambda m, _: m.make_tuple(3),
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    "BINPUT": lambda m, index: m.memo.update({index: m.stack[-1]}),
    "LONG_BINPUT": lambda m, index: m.memo.update({index: m.stack[-1]}),
    "BINGET": lambda m, index: m.stack.append(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.stack.append(m.memo[index]),
}


def _key(value, depth: int = _MAX_KEY_DEPTH):
    """A key that hashes in bounded time: plain values and small shallow tuples of them."""
    if type(value) in _PLAIN:
        return value
    if type(value) is tuple and depth > 0 and len(value) <= _MAX_KEY_LENGTH:
        for item in value:
            _key(item, depth - 1)
        return value
    raise TypeError("not a plain key")


def _require(condition: bool):
    if not condition:
        raise ValueError


def _count(value) -> int:
    _require(type(value) is int and value >= 0)
    return value


def _tensor(storage, offset, shape, strides, requires_grad, hooks, metadata=None):
    """A strided view of a storage, checked to stay inside it."""
    del requires_grad, hooks, metadata
    _require(isinstance(storage, np.ndarray) and storage.ndim == 1)
    _require(type(shape) is tuple and type(strides) is tuple)
    _require(len(shape) == len(strides) <= _MAX_DIMENSIONS)
    offset, shape, strides = _count(offset), [*map(_count, shape)], [*map(_count, strides)]
    elements = math.prod(shape)
    # Zero strides may repeat elements without bound; no module saves such a tensor.
    _require(elements <= storage.size)
    if elements == 0:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    _require(last < storage.size)
    bytes_per_step = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, bytes_per_step, writeable=False
    )


def _parameter(tensor, requires_grad, hooks):
    del requires_grad, hooks
    _require(isinstance(tensor, np.ndarray))
    return tensor


def _dtype(code, *flags):
    del flags
    _require(type(code) is str and re.fullmatch(r"[iuf][248]|[iu]1|b1", code) is not None)
    return DtypeRecord(code)


def _scalar(dtype, data):
    _require(isinstance(dtype, DtypeRecord) and type(data) is bytes)
    _require(len(data) == int(dtype.code[1:]))
    return np.frombuffer(data, "<" + dtype.code)[0].item()


def _encode(text, codec):
    _require(type(text) is str and codec == "latin1" and len(text) <= _MAX_BYTES)
    return text.encode("latin1")


def _device(kind, index=0):
    _require(type(kind) is str and type(index) is int)
    return kind


def _ordered_dict(pairs=()):
    _require(type(pairs) in (list, tuple))
    return {_key(key): value for key, value in pairs}


def _set(items=()):
    _require(type(items) in (list, tuple))
    return {_key(item) for item in items}


def _getattr(owner, name):
    """The one bound method that files hold: the sum of a CombinePotential."""
    _require(isinstance(owner, Record | Global))
    kind = owner.class_name if isinstance(owner, Record) else owner.name
    _require(kind == "cace.models.combined.CombinePotential" and name == "default_operation")
    return Global("cace.models.combined.default_operation")


CALLS: dict[str, Callable] = {
    "builtins.set": _set,
    "builtins.getattr": _getattr,
    "collections.OrderedDict": _ordered_dict,
    "torch.device": _device,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
"""Calls that a pickle may make, on plain values."""
