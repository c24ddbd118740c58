"""A file is replaced by all of what is written, or not at all."""

import os
import stat
import subprocess
import sys
import threading

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


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links of POSIX")
@pytest.mark.parametrize("make, kind, told", [
    (os.mkfifo, stat.S_ISFIFO, "a device, a pipe or a socket"),
    (lambda path: path.symlink_to(path), stat.S_ISLNK, "lead in a circle"),
    (lambda path: path.mkdir(), stat.S_ISDIR, "directory"),
], ids=["pipe", "circle", "folder"])  # fmt: skip
def test_what_is_no_file_is_left_as_it_is_and_nothing_is_written(make, kind, told, tmp_path):
    path, link = tmp_path / "odd", tmp_path / "link"
    make(path)
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(OSError, match=told) as error, replacing(name) as file:
            file.write(b"x")
        assert error.value.filename == str(name)
    mine = tmp_path / "mine"
    mine.write_text("the good one")
    with pytest.raises(OSError, match=told), replacing(mine, keep=path) as file:
        file.write(b"x")
    assert mine.read_text() == "the good one"
    mine.unlink()
    assert kind(os.lstat(path).st_mode)
    assert sorted(tmp_path.iterdir()) == [link, path]


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
@pytest.mark.parametrize("works", [True, False], ids=["linked", "copied"])
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664])
def test_who_may_read_a_file_may_read_the_new_one_and_nobody_else(path, mode, works, monkeypatch):
    monkeypatch.setattr(os, "link", links(works))
    path.chmod(mode)
    keep = path.with_name("old.md")
    with replacing(path, keep=keep) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode  # from the beginning
        file.write(b"another one")
    assert [stat.S_IMODE(name.stat().st_mode) for name in (path, keep)] == [mode, mode]
    path.chmod(0o200)
    write_text(path, "and one more")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # who writes may read back


def test_two_threads_write_one_path_each_for_itself(path):
    inside, go_on = threading.Event(), threading.Event()

    def other():
        with replacing(path) as file:
            file.write(b"of the other")
            inside.set()
            go_on.wait(30)
            file.write(b" thread")

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(30)
    write_text(path, "of this one")
    assert path.read_text("utf-8") == "of this one"
    go_on.set()
    thread.join()
    assert path.read_text("utf-8") == "of the other thread"
    assert list(path.parent.iterdir()) == [path]


# ---- the one before, and what is left behind -----------------------------------------------------


def links(works):
    """A disk with hard links, or one without."""

    def link(source, target):
        raise PermissionError(1, "Operation not permitted", source, None, target)

    return os.link if works else link


@pytest.mark.parametrize("works", [True, False], ids=["linked", "copied"])
def test_what_was_there_is_kept_under_the_other_name_and_the_path_is_never_empty(
    path, works, monkeypatch
):
    monkeypatch.setattr(os, "link", links(works))
    replace, there = os.replace, []

    def noted(source, target):
        there.append(path.exists())
        replace(source, target)
        there.append(path.exists())

    monkeypatch.setattr(os, "replace", noted)
    keep = path.with_name("old.md")
    for text in (b"2", b"3"):
        with replacing(path, keep=keep) as file:
            file.write(text)
    assert (keep.read_bytes(), path.read_bytes()) == (b"2", b"3")
    assert there == [True] * 8
    assert sorted(path.parent.iterdir()) == [keep, path]
    keep.unlink()
    os.link(path, keep) if works else keep.write_bytes(b"3")  # as of one killed in between
    with replacing(path, keep=keep) as file:
        file.write(b"4")
    assert (keep.read_bytes(), path.read_bytes()) == (b"3", b"4")
    second = path.with_name(f".old.md.{os.getpid()}")  # of one killed before, whose number we have
    os.link(path, second) if works else second.write_bytes(b"4")
    with replacing(path, keep=keep) as file:
        file.write(b"5")
    assert (keep.read_bytes(), path.read_bytes()) == (b"4", b"5")
    assert sorted(path.parent.iterdir()) == [keep, path]


def test_there_is_nothing_to_keep_of_a_file_that_was_not_there(tmp_path):
    with replacing(tmp_path / "a", keep=tmp_path / "b") as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("works", [True, False], ids=["linked", "copied"])
def test_a_writer_broken_off_before_the_end_leaves_both_as_they_were(path, works, monkeypatch):
    monkeypatch.setattr(os, "link", links(works))
    keep = path.with_name("old.md")
    keep.write_text("older", "utf-8")

    def full(source, target):
        raise OSError(28, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as error, replacing(path, keep=keep) as file:
        file.write(b"half of ano")
    assert str(error.value) == f"[Errno 28] No space left on device: {str(path)!r}"
    assert keep.read_text("utf-8") == "older"
    assert path.read_text("utf-8") == "the good one"
    assert sorted(path.parent.iterdir()) == [keep, path]


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file is what is not swept")
def test_what_a_killed_process_left_is_swept_and_what_others_write_or_own_is_not(path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    keep = path.with_name("old.md")
    left = [path.with_name(f".{name}.{gone.pid}{thread}") for name in ("table.md", "old.md")
            for thread in ("", ".123")]  # fmt: skip
    others = [path.with_name(name) for name in (
        f".table.md.{os.getppid()}", ".table.md.swp", f".other.md.{gone.pid}",
        f".table.md.{gone.pid}.", f".table.md.{gone.pid}.swp", f".table.md.{os.getppid()}.123",
        f"table.md.{gone.pid}", f".table.md.{gone.pid}.bak")]  # fmt: skip
    for name in (*left, *others):
        name.write_text("")
    with replacing(path, keep=keep) as file:
        file.write(b"another one")
    assert sorted(path.parent.iterdir()) == sorted([path, keep, *others])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no call for a folder")
def test_the_disk_has_the_bytes_before_the_name_and_the_name_before_it_is_over(path, monkeypatch):
    done, replace, fsync = [], os.replace, os.fsync

    def synced(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("name"), replace(a, b)))
    write_text(path, "another one")
    assert done == ["file", "name", "folder"]
