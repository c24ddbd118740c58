"""IDX, the format of MNIST: a file holds what its header promises, to the byte, or is refused with
its name and the offset at which it is wrong.

    bytes 0, 1        zero
    byte  2           the dtype, as in DTYPES
    byte  3           the number of axes
    4 bytes an axis   its length, uint32, big-endian
    the rest          the data in C order, big-endian, to the end of the file

After Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits" (1998).
"""

import contextlib
import gzip
import io
import math
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.files import replacing
from tinygrad_opt.tensor import Tensor

# Code to kind and bytes an element.
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
NAMES = [np.dtype(dtype).name for dtype in DTYPES.values()]
MOST_AXES = 64  # of NumPy; the format has room for 255
GZIP = b"\x1f\x8b"
CHUNK = 2**20  # bytes

Refusal = Callable[[int, str], ValueError]


def read_idx(path: Path | str) -> np.ndarray:
    """The array in an IDX file, such as MNIST's `train-images-idx3-ubyte.gz`.

    A gzip file is known by its first bytes, whatever its name, and unpacked twice: once to see that
    it is sound and as long as its header says, and then into the array. So a file that lies about
    its length takes no more memory than one that does not.

    Returns:
        A new array on the host, of the shape in the file, from () to 64 axes; uint8, int8, int16,
        int32, float32 or float64, in the byte order of this machine, C-contiguous and writeable.
        MNIST's images are uint8 (n, 28, 28), from 0 (paper) to 255 (ink), its labels uint8 (n,).

    Raises:
        ValueError: the file is no IDX file, ends too early or too late, is a damaged gzip stream,
            or holds a NaN or an infinity. It names the file and the offset in bytes; in a gzip
            file, the offset in what it unpacks to, unless the message says otherwise. Or it is a
            pipe or a device, which cannot be read twice.
        OSError: the file cannot be read; FileNotFoundError where there is none.
    """
    path = Path(path)
    kind = path.stat().st_mode  # asked before opening: a pipe would keep us waiting for a writer
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise ValueError(f"read_idx: {path} is a pipe or a device, which cannot be read twice: "
                         "write what comes from it into a file first")  # fmt: skip
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        within = " of what it unpacks to" if packed else ""

        def wrong(offset: int, why: str) -> ValueError:
            return ValueError(f"read_idx: {path}, byte {offset}{within}: {why}")

        with gzip.GzipFile(fileobj=file, mode="rb") if packed else file as stream:
            try:
                return _read(stream, wrong)
            except EOFError as error:
                end = file.seek(0, io.SEEK_END)
                raise ValueError(
                    f"read_idx: {path}, byte {end}: the file ends in the midst of its gzip stream: "
                    "is it a download that broke off?"
                ) from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise wrong(stream.tell(), f"here the gzip stream is damaged: {error}") from error


def write_idx(path: Path | str, array: Any) -> Path:
    """Write an array as an IDX file, and give its path; `read_idx` gives the same array back.

    The file is written whole or not at all, as by `files.replacing`. Where its name ends in `.gz`
    it is compressed, without a name or time inside, so that one array gives the same bytes each
    time (by one version of zlib).

    Args:
        path: the file to make or to replace.
        array: a NumPy or CuPy array or a Tensor of uint8, int8, int16, int32, float32 or float64,
            of any shape and byte order.

    Raises:
        TypeError: a dtype that the format lacks (the message names the nearest that it has), or no
            array.
        ValueError: a NaN or an infinity, which `read_idx` would refuse; an axis of more than
            4,294,967,295.
        OSError: the file cannot be written.
    """
    path = Path(path)
    host = _on_host(f"write_idx: {path}", array)
    code = {dtype: code for code, dtype in DTYPES.items()}[host.dtype.str[1:]]
    header = struct.pack(f">4B{host.ndim}I", 0, 0, code, host.ndim, *host.shape)
    data = np.asarray(host, host.dtype.newbyteorder(">"), order="C")
    with replacing(path) as file:
        if path.name.lower().endswith(".gz"):
            stream: Any = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
        else:
            stream = contextlib.nullcontext(file)  # it is not ours to close
        with stream as out:
            out.write(header)
            out.write(data.data)
    return path


# ---- reading -------------------------------------------------------------------------------------


def _read(stream: Any, wrong: Refusal) -> np.ndarray:
    big_endian, shape = _header(stream, wrong)
    start = stream.tell()
    end = start + math.prod(shape) * big_endian.itemsize
    wanted = f"{big_endian.name} {shape}, as its header says,"
    there = _length(stream, end)
    if there < end:
        raise wrong(there, f"here the data end, but {wanted} goes on to byte {end}")
    if there > end:
        raise wrong(end, f"here {wanted} is complete, but the data go on")
    try:
        array = np.empty(shape, big_endian.newbyteorder("="))
    except ValueError as error:  # a length of 0 makes any others come true, but not for NumPy
        raise wrong(4, f"the lengths {shape} are too much for NumPy: {error}") from error

    stream.seek(start)
    content = array.reshape(-1).view(np.uint8)
    for at in range(0, content.size, CHUNK):
        part = content[at : at + CHUNK]
        taken = stream.readinto(part)
        if taken < part.size:
            raise wrong(start + at + taken, "the file was shortened while it was read")
    if not big_endian.isnative:
        array.byteswap(inplace=True)
    bad = _first_not_finite(array)
    if bad is not None:
        index = tuple(map(int, np.unravel_index(bad, shape)))
        what = f"element {index} is {array[index]}; training needs finite numbers"
        raise wrong(start + bad * big_endian.itemsize, what)
    return array


def _header(stream: Any, wrong: Refusal) -> tuple[np.dtype, tuple[int, ...]]:
    """The dtype, big-endian as in the file, and the shape."""
    first = stream.read(4)
    if any(first[:2]):
        at = 0 if first[0] else 1
        raise wrong(at, f"an IDX file begins with two zero bytes, this one with {first!r}")
    if len(first) < 4:
        raise wrong(len(first), "the file ends in the midst of its header, of 4 bytes or more")
    code, axes = first[2:]
    if code not in DTYPES:
        known = ", ".join(f"0x{code:02x} ({name})" for code, name in zip(DTYPES, NAMES))
        raise wrong(2, f"0x{code:02x} is the code of no dtype: there are {known}")
    if axes > MOST_AXES:
        raise wrong(3, f"{axes} axes, and NumPy allows {MOST_AXES}")
    lengths = stream.read(4 * axes)
    if len(lengths) < 4 * axes:
        whole = f"of {4 + 4 * axes} bytes for {axes} axes"
        raise wrong(4 + len(lengths), f"the file ends in the midst of its header, {whole}")
    return np.dtype(f">{DTYPES[code]}"), struct.unpack(f">{axes}I", lengths)


def _length(stream: Any, end: int) -> int:
    """The length of the stream in bytes. A gzip stream has to be unpacked for that, which checks it
    too; one that goes on after `end` is left soon after it, and some length above `end` given."""
    if not isinstance(stream, gzip.GzipFile):
        return stream.seek(0, io.SEEK_END)
    while stream.tell() <= end and stream.read(CHUNK):
        pass
    return stream.tell()


def _first_not_finite(array: np.ndarray) -> int | None:
    """The place of the first NaN or infinity in C order, if there is one."""
    finite = np.isfinite(array).reshape(-1) if array.dtype.kind == "f" else np.empty(0, bool)
    return None if finite.all() else int(finite.argmin())


# ---- writing -------------------------------------------------------------------------------------


def _on_host(name: str, array: Any) -> np.ndarray:
    """`array` in the host's memory, if the format can hold it; else TypeError or ValueError."""
    if isinstance(array, Tensor):
        array = array.data
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array would lose its mask: pass .filled(value) or .data")
    if not backend.is_array(array):
        raise TypeError(
            f"{name}: a {type(array).__name__} is no array: pass np.asarray(x, dtype), where dtype "
            f"is one of {_either(NAMES)}"
        )
    host = np.asarray(backend.to(array, "numpy"))
    if host.dtype.str[1:] not in DTYPES.values():
        raise TypeError(f"{name}: IDX holds {_either(NAMES)}, not {host.dtype}: {_nearest(host)}")
    for axis, length in enumerate(host.shape):
        if length >= 2**32:
            raise ValueError(f"{name}: axis {axis} has length {length}: IDX ends at {2**32 - 1}")
    bad = _first_not_finite(host)
    if bad is not None:
        index = tuple(map(int, np.unravel_index(bad, host.shape)))
        raise ValueError(f"{name}: element {index} is {host[index]}; read_idx would refuse it")
    return host


def _nearest(array: np.ndarray) -> str:
    """What to do with an array of a dtype that the format lacks."""
    kind = array.dtype.kind
    if kind == "b":
        return 'write array.astype("uint8"), 0 and 1'
    if kind == "f" and array.dtype.itemsize < 4:
        return 'write array.astype("float32"), which holds each of its values'
    if kind == "f":
        return 'write array.astype("float64"), which rounds'
    if kind not in "iu":
        return "it holds no real numbers"
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    values = f"its values, from {low} to {high},"
    for name in NAMES[:4]:  # the integers, the narrowest first
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return f'{values} fit {name}: write array.astype("{name}")'
    if max(-low, high) <= 2**53:
        return f'{values} fit no integers of IDX, but float64: write array.astype("float64")'
    return f"{values} fit none of them"


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
