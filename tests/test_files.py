"""A file is replaced by all of what is written, or not at all."""

import os
import stat
import subprocess
import sys

import pytest

from tinygrad_opt.files import replacing, write_text


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.md"
    path.write_text("the good one", "utf-8")
    return path


def test_what_is_written_takes_the_place_of_what_was_there(path):
    with replacing(path) as file:
        file.write(b"another one")
        assert path.read_text("utf-8") == "the good one"
    assert path.read_text("utf-8") == "another one"
    assert write_text(str(path), "α = 0.1\n") == path
    assert path.read_bytes() == "α = 0.1\n".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_writer_that_is_broken_off_midway_leaves_the_old_file_and_nothing_else(path, error):
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half of ano")
        raise error
    assert path.read_text("utf-8") == "the good one"
    assert list(path.parent.iterdir()) == [path]


def test_a_process_that_is_killed_midway_leaves_the_old_file(path):
    code = (
        "import os, sys\n"
        "from tinygrad_opt.files import replacing\n"
        "with replacing(sys.argv[1]) as file:\n"
        "    file.write(b'half of ano')\n"
        "    file.flush()\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=False)
    assert done.returncode == 9
    assert path.read_text("utf-8") == "the good one"


def test_what_cannot_be_written_is_told_by_the_name_that_was_asked_for(tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    missing = tmp_path / "nowhere" / "race.png"
    for path in (folder, missing):
        with pytest.raises(OSError, match=r"\.png") as error, replacing(path) as file:
            file.write(b"x")
        assert (error.value.filename, error.value.filename2) == (str(path), None)
        assert ".png." not in str(error.value)
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(FileNotFoundError) as error, replacing(folder / "new"):
        (tmp_path / "another").read_bytes()
    assert error.value.filename == str(tmp_path / "another")


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_a_link_stays_a_link_and_the_file_is_as_readable_as_any_other(path, tmp_path):
    link = tmp_path / "link.md"
    link.symlink_to(path)
    write_text(link, "another one")
    assert link.is_symlink()
    assert path.read_text("utf-8") == "another one"
    other = tmp_path / "other"
    other.write_text("")
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(os.stat(other).st_mode)
