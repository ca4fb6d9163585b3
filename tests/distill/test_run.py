"""The stages together: the student finds the charges, and a killed distillation continues."""

import json
import shutil

import jax
import numpy as np
import pytest
from ase.io import read

import jles
from jles.distill import run
from jles.errors import InputError
from jles.models.store import save_model
from tests.support.commands import assert_refused
from tests.support.salt import CHARGE


def test_the_student_finds_the_charges_of_its_teacher(distilled):
    """Within three per cent, from energies and forces alone."""
    charges = distilled.record["charges"]
    assert charges["Na"]["teacher"] == CHARGE
    assert charges["Na"]["mean"] == pytest.approx(CHARGE, rel=0.03)
    assert charges["Cl"]["mean"] == pytest.approx(-CHARGE, rel=0.03)
    born = distilled.record["born_charges"]
    assert born["Na"]["mean"] == pytest.approx(CHARGE, rel=0.05)
    assert distilled.record["errors"]["forces"]["r2"] > 0.99


def test_the_student_is_a_model_and_the_report_is_there(distilled):
    model = jles.load(distilled.out / "student")
    assert model.config.backbone.cutoff == 4.0
    test = read(distilled.out / "test.xyz", ":")
    outs = model.predict([atoms.copy() for atoms in test], ("forces",))
    errors = [out.forces - atoms.get_forces() for out, atoms in zip(outs, test, strict=True)]
    error = np.sqrt(np.mean(np.square(errors)))
    assert error == pytest.approx(distilled.record["errors"]["forces"]["rmse"], rel=1e-4)
    stored = json.loads((distilled.out / "report.json").read_text(encoding="utf-8"))
    assert stored["charges"] == distilled.record["charges"]
    page = (distilled.out / "report.md").read_text(encoding="utf-8")
    assert "| Na | " in page
    assert (distilled.out / "report.png").stat().st_size > 0


def test_test_frames_are_no_training_frames(distilled):
    picks = json.loads((distilled.out / "picks.json").read_text(encoding="utf-8"))
    assert len(set(picks["train"])) == 12
    assert len(picks["test"]) == 4
    assert not set(picks["train"]) & set(picks["test"])


def test_labels_are_those_of_the_sampled_state(distilled):
    """With the initial charges and the spin of the start, on which the teacher depends."""
    picks = json.loads((distilled.out / "picks.json").read_text(encoding="utf-8"))
    runs = sorted((distilled.out / "pool").glob("run-*.xyz"))
    pool = [atoms for file in runs for atoms in read(file, ":")]
    for name in ("train", "test"):
        for n, atoms in zip(picks[name], read(distilled.out / f"{name}.xyz", ":"), strict=True):
            energy = pool[n].get_potential_energy()
            assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
            np.testing.assert_allclose(atoms.get_forces(), pool[n].get_forces(), atol=1e-6)


@pytest.fixture
def killed(distilled, tmp_path):
    """The same directory as if it had been killed while the second run was sampled."""
    out = tmp_path / "out"
    shutil.copytree(distilled.out, out)
    for name in ("picks.json", "train.xyz", "test.xyz", "pool/run-0001.xyz", "report.json"):
        (out / name).unlink()
    shutil.rmtree(out / "labels")
    return out


def test_a_resumed_distillation_ends_with_the_same_frames(distilled, killed, monkeypatch):
    # The student is already there; what it was trained on must come out again.
    monkeypatch.chdir(killed.parent)
    record = distilled.again(killed, resume=True)
    for name in ("picks.json", "train.xyz", "test.xyz", "pool/run-0001.xyz"):
        assert (killed / name).read_bytes() == (distilled.out / name).read_bytes(), name
    assert record["errors"] == distilled.record["errors"]


def test_a_directory_is_not_used_twice_and_not_resumed_with_other_settings(distilled):
    before = sorted(distilled.out.rglob("*"))
    with pytest.raises(InputError, match="holds a distillation; give --resume"):
        distilled.again(distilled.out)
    with pytest.raises(InputError, match=r"other settings \(config.seed was 0, now 1\)"):
        distilled.again(distilled.out, resume=True, seed=1)
    kept = distilled.start.read_bytes()
    distilled.start.write_bytes(kept.replace(b"spin=2", b"spin=3"))
    with pytest.raises(InputError, match=r"other settings \(inputs_digest was"):
        distilled.again(distilled.out, resume=True)
    distilled.start.write_bytes(kept)
    with pytest.raises(InputError, match="nothing to resume here"):
        distilled.again(distilled.start.parent, resume=True)
    with pytest.raises(InputError, match="is not empty"):
        distilled.again(distilled.start.parent)
    assert sorted(distilled.out.rglob("*")) == before


def test_another_model_under_the_same_name_is_another_teacher(distilled, tmp_path, monkeypatch):
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    shutil.copytree(distilled.out / "student", teacher)
    monkeypatch.setattr(run, "labelled", lambda *_: None)
    monkeypatch.setattr(run._Distillation, "run", lambda _: {})

    def begin(resume):
        return run.distill(str(teacher), [str(distilled.start)], distilled.config, out, resume)

    begin(resume=False)
    begin(resume=True)
    model = jles.load(teacher)
    params = jax.tree.map(lambda leaf: 1.001 * leaf, model.params)
    save_model(teacher, model.config, params)
    with pytest.raises(InputError, match="--resume with other settings .teacher_digest was "):
        begin(resume=True)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("sample.temprature=3", ["sample", "temprature", "temperatures"]),
        ("sample.temperatures=[]", ["temperatures", "empty"]),
        ("sample.interval=5000", ["steps", "interval"]),
        ("pick.kind=random", ["pick", "random", "'diversity', 'committee'"]),
        ("student.backbone=resnet", ["backbone", "'resnet'", "painn"]),
        ("student.settings.epohcs=3", ["student.settings", "epohcs", "epochs"]),
        ("student.sizes=[500]", ["student.sizes", "500", "pick.frames"]),
        ("student.sizes=[1]", ["student.sizes: 1 is too few"]),
        ("pick.frames=1", ["pick.frames: 1 is too few"]),
        (
            "student={sizes: [2], settings: {data: {valid_fraction: 0.9}}}",
            ["student.sizes and data.valid_fraction", "2 of 2 frames"],
        ),
        (
            "student.settings={loss: {dipole: 1}}",
            ["loss.dipole has a weight", "energy, forces"],
        ),
        ("student.training_file=none.yaml", ["none.yaml"]),
        ("pick.frames=400", ["pick.frames: 400 frames are wanted, and 320 are sampled"]),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_sampled(
    distilled, tmp_path, capsys, setting, words
):
    start = shutil.copy(distilled.start, tmp_path)
    command = ["distill", "tests.support.salt:Salt", start, "--set", setting]
    assert_refused(tmp_path, capsys, [*command, "--out", tmp_path / "out"], *words)


def test_a_wrong_start_or_teacher_is_refused(distilled, tmp_path, capsys):
    start = shutil.copy(distilled.start, tmp_path)
    out = ["--out", tmp_path / "out"]
    salt = "tests.support.salt:Salt"
    assert_refused(tmp_path, capsys, ["distill", salt, tmp_path / "no.xyz", *out], "no.xyz")
    forceless = "tests.support.salt:Forceless"
    assert_refused(tmp_path, capsys, ["distill", forceless, start, *out], "has no forces")
    words = ("start.xyz, frame 0", "teacher emt fails", "Na")
    assert_refused(tmp_path, capsys, ["distill", "emt", start, *out], *words)


@pytest.mark.long
def test_a_committee_picks_and_sizes_are_compared(distilled, tmp_path):
    settings = dict(distilled.config.student.settings) | {"epochs": 10}
    student = distilled.config.student.replace(settings=settings, sizes=(6,))
    pick = {"kind": "committee", "frames": 12, "test_frames": 4, "members": 2}
    record = distilled.again(tmp_path / "out", pick=pick, student=student)
    assert set(record["by_size"]) == {6, 12}
    assert (tmp_path / "out" / "committee" / "member-1" / "config.yaml").is_file()
    assert (tmp_path / "out" / "student-6" / "config.yaml").is_file()
