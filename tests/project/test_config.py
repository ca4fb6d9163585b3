"""Strict records from YAML: errors name the mistake and the remedy."""

import math
from typing import Literal

import numpy as np
import pytest

from jles.config import Config, count, from_dict, override, read_yaml, to_dict
from jles.errors import ConfigError, InputError
from jles.strict_yaml import to_yaml
from jles.train.config import LossConfig, OptimizerConfig, TrainConfig


class Inner(Config):
    depth: count(100, least=0) = 3
    width: float = 1.5
    shape: Literal["round", "square"] = "round"

    def __post_init__(self):
        super().__post_init__()
        if self.shape == "square" and self.depth < 2:
            raise ConfigError(f"depth: of a square must be at least 2, got {self.depth}")


class Line(Config, tag_field="kind", tag="line"):
    length: float = 1.0


class Disc(Config, tag_field="kind", tag="disc", kw_only=True):
    radius: float


class Outer(Config):
    name: str
    inner: Inner = Inner()
    maybe: Inner | None = None
    sizes: tuple[int, ...] = ()
    pair: tuple[float, str] = (1.0, "a")
    schedule: float | dict[int, float] = 1.0
    files: tuple[str, ...] | str = ()
    on: bool = False
    energies: dict[str, float] | Literal["fit"] = "fit"
    figure: Line | Disc = Line()


def test_values_arrive_with_their_types():
    values = {
        "name": "x",
        "inner": {"depth": 5, "width": 2},
        "maybe": {"shape": "square"},
        "sizes": [3, 4],
        "pair": [2, "b"],
        "schedule": {0: 1, 10: 2.5},
        "files": "one.xyz",
        "on": True,
        "energies": {"H": -1},
    }
    record = from_dict(Outer, values, "file.yaml")
    assert record == Outer(
        "x",
        Inner(5, 2.0),
        Inner(shape="square"),
        (3, 4),
        (2.0, "b"),
        {0: 1.0, 10: 2.5},
        "one.xyz",
        True,
        {"H": -1.0},
    )
    assert isinstance(record.inner.width, float)
    assert from_dict(Outer, {"name": "x", "files": ["a", "b"]}, "f").files == ("a", "b")


def test_a_record_survives_the_way_out_and_in():
    record = from_dict(Outer, {"name": "x", "maybe": {"depth": 1}, "sizes": [1]}, "f")
    assert from_dict(Outer, to_dict(record), "f") == record


def test_numbers_as_people_write_them():
    """YAML 1.1 reads 1e-3 as text."""
    for text, number in [("1e-3", 1e-3), ("-2E5", -2e5), (".5e1", 5.0), ("3", 3.0)]:
        assert from_dict(Inner, override({}, [f"width={text}"]), "f").width == number
    assert override({}, ["a=e3", "b=1e"]) == {"a": "e3", "b": "1e"}


def test_values_survive_the_way_to_a_file_and_back(tmp_path):
    """A digest may look like a number."""
    values = {"digest": "1234567e89012345", "rate": 1e-5, "count": 3, "text": "1e-3"}
    (tmp_path / "values.yaml").write_text(to_yaml(values), encoding="utf-8")
    assert read_yaml(tmp_path / "values.yaml") == values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["file.yaml", "missing key 'name'"]),
        ({"nmae": "x"}, ["file.yaml", "unknown key 'nmae'", "did you mean 'name'"]),
        ({"name": "x", "zzz": 1}, ["unknown key 'zzz'", "known keys: name, inner"]),
        ({"name": 3}, ["file.yaml.name", "expected str", "3"]),
        ({"name": "x", "inner": {"dpeth": 1}}, ["file.yaml.inner", "'dpeth'", "'depth'"]),
        (
            {"name": "x", "inner": {"depth": 1.5}},
            ["file.yaml.inner.depth", "expected int", "1.5"],
        ),
        ({"name": "x", "inner": {"depth": True}}, ["file.yaml.inner.depth", "True"]),
        ({"name": "x", "inner": {"depth": -1}}, ["file.yaml.inner.depth", "int >= 0", "-1"]),
        (
            {"name": "x", "inner": {"depth": 1, "shape": "square"}},
            ["file.yaml.inner.depth: of a square", "1"],
        ),
        ({"name": "x", "inner": {"depth": 101}}, ["inner.depth", "int <= 100", "got 101"]),
        ({"name": "x", "inner": {"width": "wide"}}, ["file.yaml.inner.width", "float", "wide"]),
        ({"name": "x", "inner": {"width": [1.0]}}, ["file.yaml.inner.width", "float"]),
        (
            {"name": "x", "inner": {"shape": "oval"}},
            ["inner.shape", "oval", "'round', 'square'"],
        ),
        ({"name": "x", "inner": {"shape": ["round"]}}, ["inner.shape", "'square'"]),
        ({"name": "x", "inner": 3}, ["file.yaml.inner", "keys and values", "3"]),
        ({"name": "x", "maybe": {"x": 1}}, ["file.yaml.maybe", "'x'"]),
        ({"name": "x", "sizes": 3}, ["file.yaml.sizes", "list", "3"]),
        ({"name": "x", "sizes": [1, "b"]}, ["file.yaml.sizes[1]", "'b'"]),
        ({"name": "x", "pair": [1.0]}, ["file.yaml.pair", "a list of length 2", "[1.0]"]),
        ({"name": "x", "schedule": {"a": 1.0}}, ["schedule (a key): expected int, got 'a'"]),
        ({"name": "x", "schedule": {0: "b"}}, ["file.yaml.schedule.0", "'b'"]),
        (
            {"name": "x", "schedule": "b"},
            ["schedule: expected float or keys and values", "'b'"],
        ),
        (
            {"name": "x", "schedule": [1]},
            ["schedule: expected float or keys and values", "[1]"],
        ),
        (
            {"name": "x", "energies": {"H": "b"}},
            ["file.yaml.energies.H: expected float", "'b'"],
        ),
        (
            {"name": "x", "energies": "it"},
            ["energies: got 'it'; choose one of 'fit', keys and values"],
        ),
        ({"name": "x", "files": [1]}, ["file.yaml.files[0]: expected str", "1"]),
        ({"name": "x", "files": 1}, ["file.yaml.files: expected str or a list", "1"]),
        ({"name": "x", "maybe": 3}, ["file.yaml.maybe: expected keys and values or null", "3"]),
        ({"name": "x", "on": "yes"}, ["file.yaml.on", "bool", "'yes'"]),
        ({"name": None}, ["file.yaml.name", "None"]),
        ({"name": "x", "depth": 1}, ["unknown key 'depth'; it belongs to 'inner' or 'maybe'"]),
        ({"name": "x", 3: 1}, ["file.yaml", "unknown key '3'", "known keys: name"]),
        (
            {"name": "x", "figure": {"kind": "cube"}},
            ["file.yaml.figure.kind: got 'cube'; choose one of 'line', 'disc'"],
        ),
        (
            {"name": "x", "figure": {"radius": 2}},
            ["'radius'; it belongs to kind 'disc'; known keys of kind 'line': length"],
        ),
        (
            {"name": "x", "figure": {"kind": "disc"}},
            ["file.yaml.figure: missing key 'radius'"],
        ),
        ({"name": "x", "figure": 3}, ["file.yaml.figure", "keys and values", "3"]),
        (None, ["file.yaml", "None"]),
        ([1], ["file.yaml", "[1]"]),
    ],
)
def test_every_mistake_is_named(values, words):
    with pytest.raises(InputError) as caught:
        from_dict(Outer, values, "file.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_the_kind_selects_the_record_of_a_union():
    assert from_dict(Outer, {"name": "x", "figure": {"length": 2}}, "f").figure == Line(2.0)
    disc = from_dict(Outer, {"name": "x", "figure": {"kind": "disc", "radius": 2}}, "f")
    assert disc.figure == Disc(radius=2.0)
    assert disc.figure.kind == to_dict(disc)["figure"]["kind"] == "disc"
    assert from_dict(Outer, to_dict(disc), "f") == disc


def test_a_configuration_made_in_python_is_checked_like_a_file():
    made = Outer("x", sizes=[1, 2], inner={"depth": 4}, pair=(1, "a"))
    assert Inner(np.int64(4), width=np.float32(0.5)) == Inner(4, 0.5)
    assert Outer("x", sizes=np.array([1, 2]), pair=(np.float64(1), "a")).sizes == (1, 2)
    assert made == Outer("x", sizes=(1, 2), inner=Inner(4))
    assert hash(made.replace(energies="fit")) == hash(made)
    with pytest.raises(InputError, match=r"^depth: expected int >= 0, got -1$"):
        Inner(depth=-1)
    with pytest.raises(InputError, match=r"^inner\.depth: expected int <= 100, got 101$"):
        Outer("x", inner={"depth": 101})
    with pytest.raises(InputError, match=r"^width: expected float, got 'wide'$"):
        Inner().replace(width="wide")


def test_null_takes_away_what_may_be_absent():
    assert from_dict(Outer, {"name": "x", "maybe": None}, "f").maybe is None
    assert from_dict(Outer, {"name": "x", "inner": None}, "f").inner == Inner()


def laughs(first, again):
    """Nine levels of nine aliases each: a few hundred characters that stand for 9^9 values."""
    levels = [f"k0: &k0 {first}"]
    for n in range(9):
        levels.append(f"k{n + 1}: &k{n + 1} " + again(", ".join(9 * [f"*k{n}"])))
    return "\n".join(levels)


LAUGHS = laughs("[ha]", "[{}]".format)
MERGED_LAUGHS = laughs("{ha: 1}", "{{<<: [{}]}}".format)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1, 2", ["not valid YAML"]),
        ("- 1\n- 2\n", ["list"]),
        ("", ["NoneType"]),
        ("a: b: c", ["not valid YAML"]),
        ("a: 1\nb: 2\n\na: 3\n", ["x.yaml, line 4", "'a' is given twice", "line 1"]),
        ("a: &a [1, *a]", ["x.yaml, line 1", "contains itself"]),
        ("a: &a {b: {c: *a}}", ["x.yaml, line 1", "contains itself"]),
        (LAUGHS, ["x.yaml, line ", "values once aliases are written out"]),
        (MERGED_LAUGHS, ["x.yaml, line ", "values once aliases are written out"]),
        ("a: " + 5000 * "[" + 5000 * "]", ["nested too deeply"]),
        ("a: " + 5000 * "9", ["not valid YAML"]),
        ("a: 2026-99-99", ["not valid YAML"]),
        ("o:\n  - {i: 1,\n     'i': 2}\n", ["x.yaml, line 3", "'i'", "line 2"]),
        ("a: {b: 4,0, c: 3,0}", ["x.yaml, line 1: '4,0' is read as two keys; write 4.0"]),
        ("a: {b: -1,5e-3}", ["'-1,5e-3' is read as two keys; write -1.5e-3"]),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line(content, words, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in [str(path), *words]), message


def test_the_same_key_in_two_places_is_no_duplicate(tmp_path):
    path = tmp_path / "x.yaml"
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {0: 1, '0': 2}\n"
    path.write_text(text, encoding="utf-8")
    first = {"x": 1, "y": 2}
    assert read_yaml(path) == {"a": first, "b": first | {"x": 3}, "c": {0: 1, "0": 2}}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="absent.yaml"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=str(tmp_path)):
        read_yaml(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="x.yaml"):
        read_yaml(tmp_path / "x.yaml")


def test_overrides_go_deep_and_leave_the_original():
    given = {"a": {"b": 1}, "c": 2}
    made = override(
        given, ["a.b=3", "a.new.x=[1, 2]", "d=null", "e={0: 1, 5: 2}", "f=x=y", "g=a.xyz@5:"]
    )
    assert made == {
        "a": {"b": 3, "new": {"x": [1, 2]}},
        "c": 2,
        "d": None,
        "e": {0: 1, 5: 2},
        "f": "x=y",
        "g": "a.xyz@5:",
    }
    assert given == {"a": {"b": 1}, "c": 2}


@pytest.mark.parametrize(
    "assignment", ["a", "=3", "c.x=3", "a.b=[1", "a={0: 1, 0: 2}", "a=&a [*a]", "a=2026-99-99"]
)
def test_an_override_that_makes_no_sense_is_quoted(assignment):
    with pytest.raises(InputError) as caught:
        override({"c": 2}, [assignment])
    assert assignment in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the training file


MINIMAL = {"data": {"train": "t.xyz"}, "model": {"backbone": {"cutoff": 3.0}}, "epochs": 2}


def merged(path, value):
    return override(MINIMAL, [f"{path}={value}"])


def test_the_smallest_training_file_works():
    config = from_dict(TrainConfig, MINIMAL, "train.yaml")
    assert config.data.train == "t.xyz"
    assert config.model.charges is not None
    assert config.loss == LossConfig()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("epochs", "0", ["epochs"]),
        ("batch_size", "0", ["batch_size"]),
        ("epochs", "1.5", ["train.yaml.epochs", "int"]),
        ("seed", "-1", ["seed"]),
        ("dtype", "float16", ["float16", "'float32', 'float64'"]),
        ("data.train", "[]", ["train.yaml.data.train: names no file"]),
        ("data.train", "[a.xyz, b.xyz, ./a.xyz]", ["train: names frames of ./a.xyz twice"]),
        ("data.valid_fraction", "1.5", ["valid_fraction", "1.5"]),
        ("data.split_seed", "-3", ["split_seed"]),
        ("data.limit", "0", ["limit"]),
        ("data.max_buckets", "0", ["max_buckets"]),
        ("data.labels.force", "F", ["data.labels", "'force'", "'forces'"]),
        ("model.start_from", "runs/a", ["backbone", "start_from"]),
        ("model", "{start_from: runs/a, charges: null}", ["model.charges: ", "'start_from'"]),
        ("model", "{start_from: a, elements: [H]}", ["model.elements: ", "'start_from'"]),
        ("model.backbone", "null", ["backbone", "start_from"]),
        ("model.backbone.cutof", "3", ["model.backbone", "cutof", "'cutoff'"]),
        ("model.backbone.messages", "[ar, memroy]", ["messages[1]", "memroy", "'memory'"]),
        ("model.charges.total", "fixed", ["charges.total", "'free', 'shift'"]),
        ("model.backbone.cutoff", ".inf", ["model.backbone.cutoff: ", "<= 100", "inf"]),
        ("model.backbone.cutoff", "-1", ["cutoff: expected float > 0.0 (angstrom), got -1"]),
        ("model.backbone.mp_norm", ".nan", ["mp_norm", ">= -1", "nan"]),
        ("model.backbone.envelope_power", ".inf", ["envelope_power", "<= 100", "inf"]),
        ("model.backbone.bchi_hidden", "[8, 0]", ["bchi_hidden[1]: expected int >= 1, got 0"]),
        ("model.energy.hidden", "[0]", ["model.energy.hidden[0]: expected int >= 1, got 0"]),
        ("model.energy.scale", ".nan", ["model.energy.scale: expected float", "nan"]),
        ("model.charges.hidden", "[-4]", ["model.charges.hidden[0]: ", ">= 1", "-4"]),
        ("model.charges.scale", ".inf", ["model.charges.scale: expected float", "inf"]),
        ("model.electrostatics.sigma", ".inf", ["electrostatics.sigma", "<= 100", "inf"]),
        ("model.electrostatics.k_max", ".nan", ["electrostatics.k_max", "> 0", "nan"]),
        ("model.element_energies", "{H: .nan}", ["element_energies.H: ", "(eV)", "nan"]),
        ("model.element_energies", "{Hh: 1.0}", ["model.element_energies: 'Hh'", "symbol"]),
        ("model.elements", "[]", ["train.yaml.model.elements: ", "length >= 1", "symbols"]),
        ("model.elements", "[H, Hh]", ["train.yaml.model.elements: ", "'Hh'", "symbol"]),
        ("model.elements", "[H, O, H]", ["train.yaml.model.elements: ", "H given twice"]),
        ("loss.energy", "abc", ["loss.energy: expected float or keys and values", "'abc'"]),
        ("model.backbone.n_rbf", "1000000000", ["n_rbf: expected int <= 256", "1000000000"]),
        ("model.backbone.n_rbf", 40 * "9", ["model.backbone.n_rbf: expected int <= 256"]),
        ("model.backbone.cutoff", 400 * "9", ["cutoff: expected a smaller number (angstrom)"]),
        ("model.backbone.cutoff", "1e6", ["model.backbone.cutoff: ", "<= 100", "1000000.0"]),
        ("model.backbone.layers", "10000", ["layers: expected int <= 16, got 10000"]),
        ("model.energy.hidden", "[1000000000]", ["energy.hidden[0]: expected int <= 65536"]),
        ("model.electrostatics.k_max", "1e9", ["k_max: ", "<= 100", "(1/angstrom)"]),
        ("batch_size", "1000000000000", ["train.yaml.batch_size: expected int <= 1000000"]),
        ("model.backbone.kind", "cake", ["backbone.kind: got 'cake'; choose one of 'cace'"]),
        ("model.charges.kind", "flows", ["charges.kind: got 'flows'", "'flow'"]),
        ("model.charges", "{kind: flow, channels: 2}", ["it belongs to kind 'direct'"]),
        ("model.backbone", "{kind: painn, cutoff: 4.0, degree: 3}", ["got 3", "0, 1, 2"]),
        ("loss.energy", "-1", ["energy", "-1"]),
        ("loss.forces", ".nan", ["forces", "nan"]),
        ("loss.forces", "{5: 1.0}", ["forces", "epoch 0"]),
        ("loss", "{energy: 0, forces: 0}", ["nothing to learn"]),
        ("loss.huber", "{velocity: 0.1}", ["huber.velocity: no such label", "forces"]),
        ("loss.huber", "{forces: 0}", ["loss.huber.forces: ", "1e-09", "got 0"]),
        ("loss.huber", "{stress: 0.1}", ["huber.stress: ", "weight 0", "loss.stress"]),
        ("model.backbone.messages", "ar", ["a list of 'memory', 'ar', 'bchi', got 'ar'"]),
        ("model.state", "{total_charge: q}", ["choose one of 'total', 'mean', null"]),
        ("optimizer.learning_rate", "0", ["learning_rate"]),
        ("optimizer.learning_rate", ".inf", ["learning_rate"]),
        ("optimizer.weight_decay", "-0.1", ["weight_decay"]),
        ("optimizer.clip_norm", "0", ["clip_norm"]),
        ("optimizer", "{ema: 1.0}", ["optimizer.ema: expected float < 1.0, got 1.0"]),
        ("optimizer.factor", "1.0", ["factor"]),
        ("optimizer.patience", "0", ["patience"]),
        ("optimizer.name", "adam", ["adam", "'adamw'"]),
        ("optimizer.schedule", "linear", ["linear", "'cosine'"]),
        ("optimiser.name", "adamw", ["optimiser", "did you mean 'optimizer'"]),
    ],
)
def test_training_keys_are_checked(path, value, words):
    with pytest.raises(InputError) as caught:
        from_dict(TrainConfig, merged(path, value), "train.yaml")
    message = str(caught.value)
    assert message.startswith("train.yaml")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_whole_training_file_survives_the_way_out_and_in():
    values = override(
        MINIMAL,
        [
            "loss.forces={0: 10, 3: 1e2}",
            "model.charges.channels=2",
            "optimizer.learning_rate=1e-3",
            "optimizer.clip_norm=null",
        ],
    )
    config = from_dict(TrainConfig, values, "f")
    assert config.optimizer == OptimizerConfig(learning_rate=1e-3, clip_norm=None)
    assert config.loss.forces == {0: 10.0, 3: 100.0}
    assert from_dict(TrainConfig, to_dict(config), "f") == config
    assert math.isclose(config.model.electrostatics.k_max, math.pi)
