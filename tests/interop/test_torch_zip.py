"""The reader of torch archives returns arrays, explains refusals and runs no code."""

import builtins
import os
import pickle
import posixpath
import struct
import subprocess
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.errors import InputError
from jles.interop.pickle_records import Global, Record
from jles.interop.torch_zip import read_torch_zip
from tests.support.torch_archive import (
    Encoder,
    Raw,
    call,
    fetch,
    save,
    write_archive,
    write_entries,
)

MODULE = "torch.nn.modules.linear.Linear"
COMBINED = "cace.models.combined.CombinePotential"


def refusal(path) -> str:
    """The error message for a bad file: one line that names the file."""
    with pytest.raises(InputError) as caught:
        read_torch_zip(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def refusal_of_code(tmp_path, code: bytes) -> str:
    """The refusal of an archive with this pickle code."""
    return refusal(write_archive(tmp_path / "hostile.pth", code))


class Attack:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_gives_back_what_was_saved(tmp_path, rng):
    storage = rng.normal(size=24).astype(np.float32)
    inner = Record(MODULE, {"weight": storage[4:16].reshape(3, 4), "bias": storage[1:9:3]})
    model = Record(COMBINED, {"a": inner, "b": inner, "x": [1, 2.5, None, {"k": ("t", True)}]})
    read = read_torch_zip(save(tmp_path / "model.pth", model))

    assert read.class_name == COMBINED
    assert read.state["x"] == model.state["x"]
    assert read.state["a"] is read.state["b"]
    for name in ("weight", "bias"):
        np.testing.assert_array_equal(read.state["a"].state[name], inner.state[name])
    assert np.may_share_memory(*(read.state["a"].state[n] for n in ("weight", "bias")))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "attack",
    [
        Attack(os.system, "touch owned"),
        Attack(builtins.eval, "open('owned', 'w')"),
        Attack(builtins.exec, "open('owned', 'w')"),
        Attack(builtins.__import__, "os"),
        Attack(subprocess.check_call, ["touch", "owned"]),
        Attack(open, "owned", "w"),
        Attack(posixpath.join, "a", "b"),
        Attack(np.fromfile, "owned"),
        Attack(pickle.loads, b"N."),
    ],
    ids=lambda attack: attack.call[0].__name__,
)
def test_foreign_call_is_named_and_never_made(tmp_path, monkeypatch, attack, protocol):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(attack, protocol)
    path = write_entries(tmp_path / "hostile.pth", {"model/data.pkl": data})
    message = refusal(path)
    assert f".{attack.call[0].__name__}'" in message
    assert "is refused" in message
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "name",
    [
        "posix.system",
        "__builtin__.eval",
        "builtins.exec",
        "nt.system",
        "torch.load",
        "torch.nn.modules.linear.Linear.forward",
        "functools.partial",
        "operator.attrgetter",
        "numpy.core.multiarray._reconstruct",
        "numpy.load",
        "cace.models.atomistic.Evil",
        "cace.models.atomistic.os.system",
        "collections.namedtuple",
    ],
)
def test_global_outside_the_vocabulary_is_named(tmp_path, name):
    assert f"'{name}'" in refusal_of_code(tmp_path, fetch(name))
    module, _, last = name.rpartition(".")
    text = Encoder().encode(module) + Encoder().encode(last)
    assert f"'{name}'" in refusal_of_code(tmp_path, text + b"\x93")


@pytest.mark.parametrize(
    "owner",
    [Record(COMBINED), Global(COMBINED), Global("builtins.set"), Record(MODULE), "text", {}],
)
@pytest.mark.parametrize("name", ["__class__", "__init__", "__globals__", "state", "forward"])
def test_getattr_reaches_nothing_but_the_named_method(tmp_path, owner, name):
    code = call("__builtin__.getattr", owner, name).code
    assert "builtins.getattr" in refusal_of_code(tmp_path, code)


def test_the_bound_method_of_combined_models_is_a_name(tmp_path):
    for owner in (Record(COMBINED), Global(COMBINED)):
        method = call("__builtin__.getattr", owner, "default_operation")
        model = Record(COMBINED, {"operation": method})
        read = read_torch_zip(save(tmp_path / "model.pth", model))
        expected = Global("cace.models.combined.default_operation")
        assert read.state["operation"] == expected


@pytest.mark.parametrize(
    "value",
    [
        call("numpy.dtype", "O", False, True),
        call("numpy.dtype", "V8", False, True),
        call("numpy.dtype", "i8, O"),
        call("numpy.core.multiarray.scalar", call("numpy.dtype", "i8"), "text"),
        call("numpy.core.multiarray.scalar", "O", call("_codecs.encode", "\x00", "latin1")),
        call("_codecs.encode", "x", "zlib"),
        call("_codecs.encode", "x" * 100, "latin1"),
        call("torch.device", ["cpu"]),
        call("torch._utils._rebuild_parameter", "text", True, None),
        call("builtins.set", [[]]),
        call("collections.OrderedDict", 5),
        call("torch.nn.functional.silu", 1.0),
        call(MODULE),
        Raw(fetch(MODULE) + b"K\x01\x85\x81"),  # an instance built with arguments
        Raw(b"X\x01\x00\x00\x00a)\x81"),  # an instance of a string
        Raw(fetch(MODULE) + b")\x81}K\x01K\x02sb"),  # an attribute that is no name
        Raw(fetch("builtins.getattr") + b"}b"),  # a state for a function
        Raw(b"]}b"),  # a state for a list
        Raw(b"]K\x01K\x02s"),  # an item of a list
        Raw(b"}K\x01a"),  # an element of a dict
        Raw(b"}]K\x01s"),  # a key that does not hash
        Raw(b"(" * 3 + b"tttN"),
        Raw(b"(" + fetch("os.system")[1:].join([b"i", b""])),  # INST
        Raw(b"\x82\x01"),  # EXT1
        Raw(b"h\x07"),  # a memo that was never filled
        Raw(b"K\x01Q"),  # a persistent id that is a number
        Raw(b""),
    ],
    ids=lambda value: repr(value.code)[2:40],
)
def test_odd_programs_are_refused_in_words(tmp_path, value):
    refusal(save(tmp_path / "odd.pth", value))


def test_numpy_numbers_of_old_pickles_are_read(tmp_path):
    dtype = call("numpy.dtype", "i8", False, True).code
    dtype += Encoder().encode((3, "<", None, None, None, -1, -1, 0)) + b"b"
    octets = struct.pack("<q", 82).decode("latin1")
    data = call("_codecs.encode", octets, "latin1")
    for scalar in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"):
        model = Record(MODULE, {"zs": [call(scalar, Raw(dtype), data)]})
        assert read_torch_zip(save(tmp_path / "model.pth", model)).state["zs"] == [82]
    swapped = dtype.replace(b"<", b">")
    model = Record(MODULE, {"z": call("numpy.core.multiarray.scalar", Raw(swapped), data)})
    assert "little-endian" in refusal(save(tmp_path / "model.pth", model))


def test_keys_cannot_be_made_expensive_to_hash(tmp_path):
    deep = b")" + b"\x85" * 100_000
    refusal_of_code(tmp_path, b"}" + deep + b"Ns")
    wide = b"(" + b"K\x01" * 10_000 + b"t"
    refusal_of_code(tmp_path, b"}" + wide + b"Ns")


def tensor(offset, shape, strides, count, key="0", kind="torch.FloatStorage"):
    """A tensor on a storage of `count` numbers, both as stated."""
    storage = Raw(Encoder().encode(("storage", Global(kind), key, "cpu", count)) + b"Q")
    arguments = storage, offset, tuple(shape), tuple(strides), False, None
    return call("torch._utils._rebuild_tensor_v2", *arguments)


@given(
    st.integers(0, 12),
    st.integers(0, 8),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=3),
)
def test_tensors_stay_inside_their_storage(tmp_path, count, offset, axes):
    shape, strides = [n for n, _ in axes], [step for _, step in axes]
    storage = np.arange(count, dtype=np.float32)
    code = Encoder().encode(Record(MODULE, {"w": tensor(offset, shape, strides, count)}))
    path = write_archive(tmp_path / "model.pth", code, [storage.tobytes()])
    places = offset + np.tensordot(strides, np.indices(shape), 1) if axes else np.array(offset)
    fits = places.size <= count and (places.size == 0 or places.max() < count)
    if fits:
        read = read_torch_zip(path).state["w"]
        np.testing.assert_array_equal(read, storage[places.astype(int)])
        assert not read.flags.writeable or read.size == 0
    else:
        assert "_rebuild_tensor_v2" in refusal(path)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (2**62, 4), (0, 0)),
        (0, (2,), (1, 1)),
        (0, (True,), (1,)),
    ],
)
def test_tensor_with_an_impossible_layout_is_refused(tmp_path, offset, shape, strides):
    shape = [Raw(b"\x8a\x08" + struct.pack("<q", n)) if n > 2**31 else n for n in shape]
    code = Encoder().encode(Record(MODULE, {"w": tensor(offset, shape, strides, 4)}))
    refusal(write_archive(tmp_path / "model.pth", code, [bytes(16)]))


def test_storage_sizes_must_agree_with_the_file(tmp_path):
    def archive(*tensors, storages):
        code = Encoder().encode(Record(MODULE, {"w": list(tensors)}))
        return write_archive(tmp_path / "model.pth", code, storages)

    whole = tensor(0, (4,), (1,), 4)
    assert len(read_torch_zip(archive(whole, storages=[bytes(16)])).state["w"]) == 1
    assert "model/data/0" in refusal(archive(whole, storages=[bytes(15)]))
    assert "model/data/0" in refusal(archive(whole, storages=[bytes(2000)]))
    assert "model/data/0" in refusal(archive(whole, storages=[]))
    other = tensor(0, (2,), (1,), 2, kind="torch.DoubleStorage")
    assert "two types" in refusal(archive(whole, other, storages=[bytes(16)]))
    outside = tensor(0, (4,), (1,), 4, key="../data.pkl")
    refusal(archive(outside, storages=[bytes(16)]))
    wrong = tensor(0, (4,), (1,), 4, kind=MODULE)
    assert "no tensor storage" in refusal(archive(wrong, storages=[bytes(16)]))


def test_files_of_other_kinds_are_distinguished(tmp_path):
    path = tmp_path / "model.pth"
    assert "cannot be read" in refusal(path)
    assert "cannot be read" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "empty" in refusal(path)
    path.write_bytes(b"<html>404</html>")
    assert "not a zip" in refusal(path)
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    assert "before 1.6" in refusal(path)
    assert "data.pkl" in refusal(write_entries(path, {"weights.npy": b"1"}))
    entries = {"model/data.pkl": b"\x80\x02}.", "model/constants.pkl": b"N."}
    assert "TorchScript" in refusal(write_entries(path, entries))
    assert "holds a dict" in refusal(save(path, {"state": 1}))
    entries = {"model/data.pkl": b"\x80\x02N.", "model/byteorder": b"big"}
    assert "byte order" in refusal(write_entries(path, entries))


def test_compressed_and_overlapping_entries_are_refused(tmp_path):
    bomb = {"model/data.pkl": b"\x80\x02" + b"N" * 10_000_000 + b"."}
    path = write_entries(tmp_path / "bomb.pth", bomb, zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path)
    plain = save(tmp_path / "model.pth", Record(MODULE, {"x": "a" * 5000}))
    data = plain.read_bytes()
    directory = data.index(b"PK\x01\x02")
    repeated = data[directory : data.index(b"PK\x05\x06")]
    end = bytearray(data[data.index(b"PK\x05\x06") :])
    end[8:12] = struct.pack("<HH", 200, 200)
    end[12:16] = struct.pack("<I", 100 * len(repeated))
    plain.write_bytes(data[:directory] + repeated * 100 + bytes(end))
    refusal(plain)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a small valid archive."""
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    model = Record(COMBINED, {"_parameters": {"w": weight}, "keys": [{"a": 1.0}], "n": 3})
    return save(tmp_path_factory.mktemp("sound") / "model.pth", model).read_bytes()


@given(st.floats(0.0, 1.0, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path, sound, kept):
    path = tmp_path / "cut.pth"
    path.write_bytes(sound[: int(kept * len(sound))])
    refusal(path)


@given(st.integers(0), st.binary(min_size=1, max_size=4), st.booleans())
def test_damage_gives_an_input_error_or_a_record(tmp_path, sound, place, noise, in_pickle):
    path = tmp_path / "damaged.pth"
    path.write_bytes(sound)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    target = entries["model/data.pkl"] if in_pickle else sound
    place %= len(target)
    damaged = target[:place] + noise + target[place + len(noise) :]
    if in_pickle:
        write_entries(path, entries | {"model/data.pkl": damaged})
    else:
        path.write_bytes(damaged)
    try:
        outcome = read_torch_zip(path)
    except InputError as error:
        outcome = error
    assert isinstance(outcome, Record) or str(path) in str(outcome)
