"""Full disks and places that cannot be written."""

import pytest

from tests.support.commands import assert_refused, commands, run_on_small_disk, snapshot


@pytest.mark.parametrize("command", ["import-torch", "evaluate"])
def test_a_full_disk_is_reported_and_leaves_nothing_half_written(folder, torch_file, command):
    out = folder / "out"
    if command == "import-torch":
        arguments = [command, torch_file, "-o", out]
    else:
        arguments = commands(folder)[2]
    before = snapshot(folder)
    result = run_on_small_disk(100, *arguments)
    assert result.returncode == 2, result.stderr
    # On a slow machine lines of progress stand before the one of the error.
    assert "Traceback" not in result.stderr
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("jles: error: ")]
    assert line.startswith(f"jles: error: {out}")
    assert "free some space" in line
    assert snapshot(folder) == before


def test_places_that_cannot_be_written_are_named(folder, capsys):
    """A file stands where a folder should be."""
    (folder / "out").write_text("mine", encoding="utf-8")
    for arguments in commands(folder)[1:]:
        assert_refused(folder, capsys, arguments, folder / "out")
    assert_refused(folder, capsys, ["demo", "--out", folder / "out"], folder / "out")
