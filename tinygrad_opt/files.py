"""A file is written whole or not at all: it grows beside the old one and then takes its place."""

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path | str, keep: Path | str | None = None) -> Iterator[BinaryIO]:
    """A binary file to write into, which becomes `path` when the block ends.

        with replacing("race.png") as file:
            picture.save(file, "PNG")

    Where the block ends by an error or an interrupt, or the process is killed, what was at `path`
    is still there as it was. What a killed process has left unfinished beside it is swept up by the
    next one that writes there. A link stays a link: what it leads to is replaced. The new file may
    be read and written by those who might the old one.

    Args:
        path: the file.
        keep: a name in the same folder, under which what was at `path` stays, in the place of what
            was there. There is a file at `path` all the while.

    Raises OSError, naming `path`, where it cannot be written, and where it is a folder, a device or
    a pipe, which are left as they are.
    """
    asked, path = path, Path(os.path.realpath(path))
    beside, second = _beside(path), path if keep is None else _beside(Path(keep))
    mode = _mode_of(path, asked)
    if keep is not None:
        _mode_of(Path(keep), keep)
    try:
        for name in (path, *([keep] if keep else [])):
            _sweep(Path(name))
        with beside.open("wb") as file:
            if mode is not None:
                with contextlib.suppress(OSError):  # not every disk has modes
                    beside.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power failure could keep the new name and lose the rest
        if keep is not None and path.exists():
            _twin(path, second)
            os.replace(second, keep)
            second.unlink(missing_ok=True)  # of two names of one file, a replacement leaves both
        os.replace(beside, path)
        _settle(path.parent)
    except BaseException as error:
        for left in {beside, second} - {path}:
            with contextlib.suppress(OSError):
                left.unlink()
        if isinstance(error, OSError) and error.filename in (str(beside), str(second)):
            raise OSError(error.errno, error.strerror, str(asked)) from None
        raise


def check_replaceable(path: Path | str, keep: Path | str) -> None:
    """Raise now what `replacing(path, keep)` would raise at its end, as far as it can be known."""
    target = Path(os.path.realpath(path))
    _mode_of(target, path)
    _mode_of(Path(keep), keep)
    beside = _beside(target)
    try:
        beside.open("wb").close()
        beside.unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_text(path: Path | str, text: str) -> Path:
    """Make `text`, in UTF-8, the whole of the file `path`, and give the path; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())
    return Path(path)


def _beside(path: Path) -> Path:
    """Where this thread writes what becomes `path`: on the same disk, and hidden."""
    is_main = threading.current_thread() is threading.main_thread()
    thread = "" if is_main else f".{threading.get_ident()}"
    return path.with_name(f".{path.name}.{os.getpid()}{thread}")


def _mode_of(path: Path, asked: Path | str) -> int | None:
    """Who may read and write the file that is there, or None; OSError where there is no file but
    something else."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # nothing is there, or what keeps us from looking keeps us from writing, too
        return None
    if stat.S_ISLNK(mode):  # after all links were followed
        raise OSError(errno.ELOOP, "these links lead in a circle", str(asked))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(asked))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "this is a device, a pipe or a socket, and only a file can be "
                      "replaced by another: take another path", str(asked))  # fmt: skip
    return stat.S_IMODE(mode) | stat.S_IRUSR  # a writer may read back what it has written


def _twin(path: Path, second: Path) -> None:
    """Give the file `path` a second name; where the disk has no such thing, copy it."""
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:
        with path.open("rb") as source, second.open("wb") as file:
            with contextlib.suppress(OSError):
                shutil.copymode(path, second)
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())


def _sweep(path: Path) -> None:
    """Remove what killed processes have left beside `path`, and nothing of those that live."""
    start = f".{path.name}."
    with contextlib.suppress(OSError):
        for left in path.parent.iterdir():
            number, dot, thread = left.name.removeprefix(start).partition(".")
            is_ours = left.name.startswith(start) and number.isdecimal()
            if is_ours and thread.isdecimal() == bool(dot) and not _lives(int(number)):
                with contextlib.suppress(OSError):  # another process may sweep, too
                    left.unlink()


def _lives(process: int) -> bool:
    if os.name != "posix":  # there os.kill would kill, and an open file cannot be removed
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it lives, and is somebody else's
        return True
    return True


def _settle(folder: Path) -> None:
    """Have the disk keep the names in the folder, too, where it can be asked to."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
