"""Reading runs: frames, times, killed runs."""

import h5py
import numpy as np
import pytest

from jles.analysis.run import open_run
from jles.errors import InputError


def test_frames_come_with_their_times_and_the_start_is_left_out(current_run):
    whole, later = (open_run(current_run, skip).read("current") for skip in (0.0, 100.5))
    assert (whole.interval, whole.length) == (1.0, 399.0)
    np.testing.assert_array_equal(later.steps * 0.5, np.arange(101.0, 400.0))
    np.testing.assert_array_equal(later.values, whole.values[101:])


def test_a_run_killed_while_it_wrote_is_read_up_to_there(current_run):
    with h5py.File(current_run / "trajectory.h5", "a") as file:
        values = file["current/current"][:300]
        del file["current/current"]
        file["current/current"] = values
    assert len(open_run(current_run).read("current").steps) == 300


def test_frames_written_after_a_run_was_opened_are_left_out(current_run):
    """Reports read a group several times, while the run may go on."""
    run = open_run(current_run)
    before = run.read("current")
    with h5py.File(current_run / "trajectory.h5", "a") as file:
        for name, more in (("step", 800 + 2 * np.arange(50)), ("current", np.ones((50, 3)))):
            values = np.concatenate([file["current"][name], more])
            del file["current"][name]
            file["current"][name] = values
        file["charges/step"] = np.arange(50)
    for name, values in zip(before._fields, before, strict=True):
        np.testing.assert_array_equal(getattr(run.read("current"), name), values)
    assert not run.has("charges")
    assert len(open_run(current_run).read("current").steps) == len(before.steps) + 50


def test_a_run_stopped_before_its_first_block_is_to_be_continued(current_run):
    with h5py.File(current_run / "trajectory.h5", "a") as file:
        for kind in [name for name, part in file.items() if isinstance(part, h5py.Group)]:
            del file[kind]
    with pytest.raises(InputError, match="stopped before its first block .*--resume"):
        open_run(current_run)


def test_damage_is_one_line_whatever_h5py_raises(current_run, rng):
    file = current_run / "trajectory.h5"
    content, messages = file.read_bytes(), []
    for _ in range(60):
        damaged, place = bytearray(content), rng.integers(0, 6000)
        damaged[place : place + 200] = rng.bytes(200)
        file.write_bytes(damaged)
        try:
            open_run(current_run).read("current")
        except InputError as error:
            messages.append(str(error))
    assert not any("\n" in message for message in messages)
    assert sum("damaged, or being written" in message for message in messages) > 3
