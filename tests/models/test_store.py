"""The model directory: round trips, damaged files and wrong configurations."""

import json
import os
import resource
import subprocess
import sys

import jax
import numpy as np
import pytest
import yaml

import jles
from jles import files
from jles.errors import InputError
from jles.models.backbones.features import Features
from jles.models.backbones.foreign import register
from jles.models.backbones.foreign_config import ForeignConfig
from jles.models.backbones.foreign_model import ForeignModel
from jles.models.store import FORMAT_VERSION, read_model, save_model
from tests.support.paths import ROOT
from tests.support.small_systems import (
    random_params,
    rattled,
    small_backbone,
    small_config,
    small_model,
)

CONFIG = small_config(
    element_energies={"H": -13.25, "O": -1.0 / 3.0},
    backbone=small_backbone(
        l_max=1, body_order=2, layers=1, envelope="switch", envelope_onset=1.0
    ),
)
FILES = {"config.yaml", "params.safetensors", "metrics.json", "README.md"}


@pytest.fixture(scope="module")
def params():
    return small_model(CONFIG, dtype=np.float32)[1]


@pytest.fixture
def directory(params, tmp_path):
    path = tmp_path / "model"
    save_model(path, CONFIG, params, {"valid": {"forces_rmse": 0.5}}, {"files": ["a.xyz"]})
    return path


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_saved_comes_back_bit_for_bit(dtype, tmp_path):
    params = random_params(small_model(CONFIG)[0], 3, dtype)
    save_model(tmp_path, CONFIG, params, {"valid": {"x": 1.5}}, {"seed": 3})
    stored = read_model(tmp_path)
    assert stored.config == CONFIG
    assert stored.metrics == {"valid": {"x": 1.5}}
    assert stored.training == {"seed": 3}
    assert jax.tree.structure(stored.params) == jax.tree.structure(params)
    for given, found in zip(
        jax.tree.leaves(params), jax.tree.leaves(stored.params), strict=True
    ):
        assert found.dtype == dtype
        assert found.tobytes() == np.asarray(given).tobytes()
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_the_same_model_is_the_same_files(directory, params, tmp_path):
    again = tmp_path / "again"
    save_model(again, CONFIG, params, {"valid": {"forces_rmse": 0.5}}, {"files": ["a.xyz"]})
    assert contents(again) == contents(directory)


def test_a_model_without_a_long_range_part_comes_back(tmp_path):
    config = small_config(charges=None, normalize_features=False)
    _, params = small_model(config)
    save_model(tmp_path, config, params)
    stored = read_model(tmp_path)
    assert stored.config == config
    assert set(stored.params) == {"backbone", "energy"}


def scaled(cutoff, elements):
    """A model written elsewhere whose parameter is a single number."""

    def function(params, vectors, species, senders, receivers):
        reach = jax.numpy.maximum(cutoff - jax.numpy.sqrt(jax.numpy.sum(vectors**2, 1)), 0.0)
        summed = jax.ops.segment_sum(reach**3, receivers, species.shape[0])
        return Features((params["scale"] * summed)[:, None], None, None, None)

    return ForeignModel(function, lambda key: {"scale": jax.numpy.ones(())})


@pytest.mark.parametrize("shape", [(), (1,)], ids=["", "of earlier versions"])
def test_a_single_number_comes_back_as_one(shape, tmp_path):
    register("scaled", scaled)
    config = small_config(backbone=ForeignConfig(2.0, "scaled", layers=1, degree=0))
    params = jax.tree.map(np.array, random_params(small_model(config)[0]))
    scale = params["backbone"]["model"]["scale"]
    assert scale.shape == ()
    params["backbone"]["model"]["scale"] = scale.reshape(shape)
    save_model(tmp_path, config, params)
    found = read_model(tmp_path).params["backbone"]["model"]["scale"]
    assert found.shape == ()
    assert found == scale


def test_readme_says_what_the_model_is(directory):
    readme = (directory / "README.md").read_text(encoding="utf-8")
    assert all(
        word in readme for word in ("H, O", "cutoff: 3 angstrom", "sigma 1", "jles.load")
    )


def assert_refused(path, *words):
    for read in (read_model, jles.load):
        with pytest.raises(InputError) as caught:
            read(path)
        message = str(caught.value)
        assert "\n" not in message
        assert all(word in message for word in words), message


def test_a_place_without_a_model_is_named(tmp_path):
    (tmp_path / "mace.model").touch()
    (tmp_path / "config.yaml").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.yaml").touch()
    (tmp_path / "data").mkdir()
    remedies = {
        "absent": "no such directory",
        "mace.model": f"`jles import-torch {tmp_path / 'mace.model'} -o DIR`",
        "config.yaml": f"give its directory, {tmp_path}",
        "run": f"`jles train CONFIG.yaml --out {tmp_path / 'run'} --resume`",
        "data": "has no config.yaml",
    }
    for name, words in remedies.items():
        assert_refused(tmp_path / name, str(tmp_path / name), words)
    best = tmp_path / "run" / "best_before_stop"
    best.mkdir()
    assert_refused(tmp_path / "run", f", or take {best}")


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
def test_every_truncation_is_noticed(directory, name):
    """Cut anywhere, a file of a model is refused by name; only metrics may be absent."""
    whole = (directory / name).read_bytes()
    for kept in {0, 1, len(whole) // 3, len(whole) // 2, int(0.9 * len(whole))}:
        (directory / name).write_bytes(whole[:kept])
        if name == "config.yaml" and b"training:" in whole[:kept]:
            continue
        assert_refused(directory, str(directory / name))
    (directory / name).unlink()
    if name == "metrics.json":
        assert read_model(directory).metrics == {}
    else:
        assert_refused(directory, name)


def test_a_config_cut_anywhere_is_refused_or_means_the_same(directory):
    """Keys have defaults, so a lost line could silently give another model."""
    whole = (directory / "config.yaml").read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    for kept in range(len(lines)):
        (directory / "config.yaml").write_text("".join(lines[:kept]), encoding="utf-8")
        if any(line.startswith("training:") for line in lines[:kept]):
            assert read_model(directory).config == CONFIG
        else:
            assert_refused(directory, str(directory / "config.yaml"))


def test_one_flipped_bit_in_the_parameters_is_noticed(directory):
    weights = directory / "params.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert_refused(directory, str(weights), "SHA-256")


def test_parameters_of_another_model_are_noticed(directory, tmp_path):
    other = tmp_path / "other"
    save_model(other, CONFIG, small_model(CONFIG, seed=9, dtype=np.float32)[1])
    (directory / "params.safetensors").write_bytes((other / "params.safetensors").read_bytes())
    assert_refused(directory, "params.safetensors", "another model")


def edit_config(directory, change):
    record = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
    change(record)
    (directory / "config.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")


def test_a_directory_of_format_1_is_read(directory, params):
    def as_before(record):
        charges = record["model"]["charges"]
        record["format"], charges["method"] = 1, charges.pop("kind")
        charges["flow_width"] = 8
        del record["model"]["electrostatics"]["method"]
        del record["model"]["electrostatics"]["accuracy"]

    edit_config(directory, as_before)
    stored = read_model(directory)
    assert stored.config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, stored.params, params)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(format=FORMAT_VERSION + 1), ["newer", "update jles"]),
        (lambda r: r.pop("format"), ["format"]),
        (lambda r: r.pop("model"), ["model"]),
        (lambda r: r.update(model=3), ["model"]),
        (lambda r: r["model"].update(colour="red"), ["colour"]),
        (
            lambda r: r["model"]["backbone"].update(cutof=3.0),
            ["cutof", "did you mean 'cutoff'"],
        ),
        (lambda r: r["model"]["backbone"].update(cutoff=-1.0), ["cutoff", "-1.0"]),
        (lambda r: r["model"].update(elements=["H", "Qx"]), ["Qx"]),
        (lambda r: r["model"]["backbone"].update(n_rbf=4), ["bessel_weights", "(4,)", "(3,)"]),
        (lambda r: r["model"].update(charges=None), ["charges", "another model"]),
        (lambda r: r["model"]["energy"].update(hidden=[5]), ["energy", "another model"]),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_words(directory, change, words):
    edit_config(directory, change)
    assert_refused(directory, str(directory / "config.yaml"), *words)


def test_text_that_is_no_config_is_refused(directory):
    for text in ("[1, 2", "- 1\n- 2\n", "\x00\x01"):
        (directory / "config.yaml").write_text(text, encoding="utf-8")
        assert_refused(directory, "config.yaml")
    (directory / "config.yaml").write_bytes(b"\xff\xfe\xff")
    assert_refused(directory, "config.yaml")


@pytest.mark.parametrize("failing", range(4))
def test_a_full_disk_leaves_the_old_model(directory, monkeypatch, failing):
    """Writing any of the four files may fail."""
    before = contents(directory)
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > failing:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    other = small_model(CONFIG, seed=5, dtype=np.float32)[1]
    with pytest.raises(InputError, match="No space left"):
        save_model(directory, CONFIG, other, {"valid": {"forces_rmse": 0.1}})
    monkeypatch.undo()
    assert contents(directory) == before
    assert read_model(directory).metrics == {"valid": {"forces_rmse": 0.5}}


_SAVE_ANOTHER = """
import sys
from jles.errors import InputError
from jles.models.store import read_model, save_model
stored = read_model(sys.argv[1])
params = stored.params
params["energy"]["linear"]["bias"] = params["energy"]["linear"]["bias"] + 1
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_model(sys.argv[1], stored.config, params)
except InputError as error:
    print(error)
    sys.exit(2)
"""


def test_a_file_too_large_for_the_disk_leaves_the_old_model(directory):
    """The kernel refuses to write more."""
    assert resource.RLIMIT_FSIZE is not None
    before = contents(directory)
    result = subprocess.run(
        [sys.executable, "-c", _SAVE_ANOTHER, str(directory)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert str(directory) in result.stdout
    assert contents(directory) == before


def test_saving_where_a_file_is_fails_in_words(tmp_path, params):
    (tmp_path / "model").write_text("mine", encoding="utf-8")
    with pytest.raises(OSError, match="exists"):
        save_model(tmp_path / "model", CONFIG, params)
    assert (tmp_path / "model").read_text(encoding="utf-8") == "mine"


def test_a_loaded_model_predicts_what_the_potential_says(directory, params):
    model = jles.load(directory, dtype="float64")
    atoms = rattled(0)
    out = model.predict(atoms, want=("energy",))
    structure = model.structure(atoms)
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    energy = float(jax.jit(model.energy_fn)(double, structure))
    np.testing.assert_allclose(out.energy, energy - 3 * 13.25 - 3.0 / 3.0, rtol=1e-12)
    assert json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
