"""Writes files in the layout of torch.save from records: the inverse of the reader."""

import struct
import zipfile
from dataclasses import dataclass

import numpy as np

from jles.interop.pickle_records import Global, Record

_STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


@dataclass(frozen=True)
class Raw:
    """Bytes that go into the pickle as they are."""

    code: bytes


def fetch(dotted: str) -> bytes:
    """The instruction that fetches a global."""
    module, _, name = dotted.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def call(dotted: str, *arguments) -> Raw:
    """A call of a global with plain arguments."""
    return Raw(fetch(dotted) + Encoder().encode(tuple(arguments)) + b"R")


class Encoder:
    """Pickle code (protocol 2) of nested plain values, arrays and records."""

    def __init__(self):
        self.storages: list[np.ndarray] = []
        self.places: dict[int, bytes] = {}

    def encode(self, value) -> bytes:
        """Code that leaves `value` on the stack; records met twice are shared."""
        if isinstance(value, Record):
            return self._record(value)
        if isinstance(value, np.ndarray):
            return self._tensor(value)
        return self._plain(value)

    def _plain(self, value) -> bytes:
        match value:
            case Raw(code):
                return code
            case Global(name):
                return fetch(name)
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return b"J" + struct.pack("<i", value)
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                text = value.encode()
                return b"X" + struct.pack("<I", len(text)) + text
            case list():
                return b"](" + b"".join(map(self.encode, value)) + b"e"
            case tuple():
                return b"(" + b"".join(map(self.encode, value)) + b"t"
            case dict():
                pairs = (self.encode(k) + self.encode(v) for k, v in value.items())
                return b"}(" + b"".join(pairs) + b"u"
        raise TypeError(type(value))

    def _record(self, record: Record) -> bytes:
        if id(record) in self.places:
            return self.places[id(record)]
        index = struct.pack("<I", len(self.places))
        self.places[id(record)] = b"j" + index
        arguments = self.encode(record.arguments) if record.arguments else b")"
        new = fetch(record.class_name) + arguments + b"\x81r" + index
        return new + self.encode(record.state) + b"b"

    def _tensor(self, array: np.ndarray) -> bytes:
        """Arrays with one base share one storage, as torch has it."""
        base = array if array.base is None else array.base
        if not any(base is storage for storage in self.storages):
            self.storages.append(base)
        key = next(n for n, storage in enumerate(self.storages) if storage is base)
        kind = Global(f"torch.{_STORAGES[array.dtype.name]}")
        offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        storage = self.encode(("storage", kind, str(key), "cpu", base.size)) + b"Q"
        strides = tuple(step // array.itemsize for step in array.strides)
        arguments = (Raw(storage), offset // array.itemsize, array.shape, strides, False, None)
        return fetch("torch._utils._rebuild_tensor_v2") + self.encode(arguments) + b"R"


def write_archive(path, code: bytes, storages=(), root="model", **options):
    """A zip of a pickle (`code` without header and stop) and its storages; returns `path`."""
    pickle = b"\x80\x02" + code + b"."
    return write_entries(
        path,
        {f"{root}/data.pkl": pickle, f"{root}/byteorder": b"little"}
        | {f"{root}/data/{n}": bytes(data) for n, data in enumerate(storages)},
        **options,
    )


def write_entries(path, entries: dict, compression=zipfile.ZIP_STORED):
    """A zip of named bytes; returns `path`."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def save(path, value):
    """What torch.save(value, path) would write; returns `path`."""
    encoder = Encoder()
    code = encoder.encode(value)
    return write_archive(path, code, [array.tobytes() for array in encoder.storages])
