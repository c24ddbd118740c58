"""A file is written whole or not at all: it grows beside the old one and then takes its place."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file to write into, which becomes `path` when the block ends.

        with replacing("race.png") as file:
            picture.save(file, "PNG")

    Where the block ends by an error or an interrupt, or the process is killed, what was at `path`
    is still there as it was. A link stays a link: what it leads to is replaced.

    Raises OSError, naming `path`, where it cannot be written.
    """
    asked, path = path, Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # on the same disk, and hidden
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power failure could keep the new name and lose the rest
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and error.filename == str(beside):
            error.filename, error.filename2 = str(asked), None
        raise


def write_text(path: Path | str, text: str) -> Path:
    """Make `text`, in UTF-8, the whole of the file `path`, and give the path; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())
    return Path(path)
