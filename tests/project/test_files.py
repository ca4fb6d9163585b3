"""Files are replaced as a whole: a name holds the old file or the new one."""

import errno
import resource

import pytest

from jles.errors import InputError
from jles.files import atomic_path, check_room, write_atomically


@pytest.fixture
def almost_full_disk():
    """Limits files to 100 bytes, so that the system reports an error as for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("content", ["Å and eV\n", b"\x00\xff"])
def test_text_and_bytes_come_back(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomically(path, content)
    expected = content.encode("utf-8") if isinstance(content, str) else content
    assert path.read_bytes() == expected
    assert list(path.parent.iterdir()) == [path]


def test_the_temporary_name_keeps_suffix_and_folder(tmp_path):
    with atomic_path(tmp_path / "picture.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        assert not (tmp_path / "picture.png").exists()


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    """Even if they have the same process number, on two machines; the last one counts."""
    path = tmp_path / "table"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, almost_full_disk):
    path = tmp_path / "params.safetensors"
    write_atomically(path, "old")
    with pytest.raises(
        InputError, match=r"params\.safetensors: cannot be written \(.*\)"
    ) as info:
        write_atomically(path, "new" * 1000)
    assert "\n" not in str(info.value)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_without_room_is_found_before_writing(tmp_path, almost_full_disk):
    check_room(tmp_path / "new", 100)
    with pytest.raises(OSError, match="too large"):
        check_room(tmp_path / "new", 101)
    assert list((tmp_path / "new").iterdir()) == []


def test_an_exception_inside_leaves_the_old_file_and_passes_through(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def write_and_fail(temporary):
        temporary.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOENT, "another file is missing", "another")

    with pytest.raises(FileNotFoundError, match="another"), atomic_path(path) as temporary:
        write_and_fail(temporary)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_under_the_final_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path, "content")


def test_a_file_where_a_folder_should_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "inside", "content")
