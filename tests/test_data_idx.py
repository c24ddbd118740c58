"""An IDX file is read as the format says, to the byte, and a file that is no such thing is refused
with its name and the offset. The bytes written out by hand here are what neither the reader nor the
writer has made, so that the two cannot be wrong together."""

import contextlib
import gzip
import itertools
import os
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

import tinygrad_opt as tg
from tinygrad_opt.data import Batches, idx, read_idx, write_idx

# Each of shape (1, 3): two zero bytes, the code, 2 axes, their lengths, the data.
BY_HAND = {
    "uint8": ("00 00 08 02  00000001 00000003  00 7f ff", [0, 127, 255]),
    "int8": ("00 00 09 02  00000001 00000003  80 ff 7f", [-128, -1, 127]),
    "int16": ("00 00 0b 02  00000001 00000003  8000 fffe 0102", [-32768, -2, 258]),
    "int32": (
        "00 00 0c 02  00000001 00000003  80000000 c1020304 01020304",
        [-2147483648, -1056832764, 16909060],
    ),
    "float32": (
        "00 00 0d 02  00000001 00000003  3fc00000 c2280000 3dcccccd",
        [1.5, -42.0, np.float32(0.1)],
    ),
    "float64": (
        "00 00 0e 02  00000001 00000003  3ff8000000000000 c045000000000000 3fb999999999999a",
        [1.5, -42.0, 0.1],
    ),
}
DTYPES = list(BY_HAND)
by_hand = pytest.mark.parametrize(
    ("dtype", "content", "values"),
    [(dtype, bytes.fromhex(content), values) for dtype, (content, values) in BY_HAND.items()],
    ids=DTYPES,
)


def gzipped(content):
    return gzip.compress(content, mtime=0)


packing = pytest.mark.parametrize("pack", [bytes, gzipped], ids=["plain", "gzip"])


def idx_bytes(code, lengths, data=b"", axes=None):
    axes = len(lengths) if axes is None else axes
    return struct.pack(f">4B{len(lengths)}I", 0, 0, code, axes, *lengths) + data


def written(path, content):
    path.write_bytes(content)
    return path


def refused(path, content, offset, message=""):
    """AssertionError unless the file is refused with its name, this offset and these words."""
    path.write_bytes(content)
    within = " of what it unpacks to" if content[:2] == b"\x1f\x8b" else ""
    told = re.escape(f"read_idx: {path}, byte {offset}{within}: ") + ".*" + message
    with pytest.raises(ValueError, match=f"^{told}"):
        read_idx(path)


@contextlib.contextmanager
def at_most(megabytes):
    """AssertionError where more memory than this is held at once, of Python's or of NumPy's."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some-idx"


# ---- what is read --------------------------------------------------------------------------------


@by_hand
@packing
def test_a_file_written_by_hand_is_read(path, dtype, content, values, pack):
    array = read_idx(written(path, pack(content)))
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative
    assert array.tolist() == [[np.dtype(dtype).type(value).item() for value in values]]


def test_the_last_axis_runs_fastest(path):
    content = idx_bytes(0x08, (2, 1, 3), bytes([0, 1, 2, 10, 11, 12]))
    assert read_idx(written(path, content)).tolist() == [[[0, 1, 2]], [[10, 11, 12]]]


@by_hand
@packing
def test_the_array_is_the_callers_own(path, dtype, content, values, pack):
    a, b = read_idx(written(path, pack(content))), read_idx(str(path))
    for array in (a, b):
        assert type(array) is np.ndarray and array.base is None
        flags = array.flags
        assert flags.owndata and flags.writeable and flags.c_contiguous and flags.aligned
    before = path.read_bytes()
    a[...] = 1
    assert b.tolist() != a.tolist() and path.read_bytes() == before


@by_hand
def test_no_axes_are_one_element(path, dtype, content, values):
    scalar = content[:3] + b"\0" + content[12 : 12 + np.dtype(dtype).itemsize]
    array = read_idx(written(path, scalar))
    assert type(array) is np.ndarray and array.shape == () and array == values[0]


@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0), (2**32 - 1, 0)])
@packing
def test_a_length_of_zero_is_an_empty_array(path, shape, pack):
    array = read_idx(written(path, pack(idx_bytes(0x0D, shape))))
    assert array.shape == shape and array.dtype == np.float32


def test_64_axes_are_read_and_written(path):
    content = idx_bytes(0x08, (1,) * 63 + (2,), b"\7\5")
    array = read_idx(written(path, content))
    assert array.shape == (1,) * 63 + (2,) and array.ravel().tolist() == [7, 5]
    assert write_idx(path, array).read_bytes() == content


@pytest.mark.parametrize(("name", "pack"), [("train-images-idx3-ubyte.gz", bytes),
                                            ("train-images-idx3-ubyte", gzipped),
                                            ("labels.txt", gzipped)])  # fmt: skip
def test_gzip_is_known_by_the_first_bytes_and_not_by_the_name(tmp_path, name, pack):
    assert read_idx(written(tmp_path / name, pack(idx_bytes(8, (2,), b"ab")))).tolist() == [97, 98]


def test_a_gzip_file_of_several_members_is_one_stream(path):
    content = idx_bytes(0x0B, (2, 2), bytes(range(8)))
    members = b"".join(gzipped(content[at : at + 5]) for at in range(0, len(content), 5))
    assert read_idx(written(path, members)).tolist() == [[1, 515], [1029, 1543]]


@packing
def test_more_than_one_chunk_is_read_and_takes_hardly_more_memory_than_the_array(path, pack):
    data = np.arange(3 * idx.CHUNK // 4 + 100, dtype=">i4")
    path.write_bytes(pack(idx_bytes(0x0C, data.shape, data.tobytes())))
    with at_most(megabytes=3 * idx.CHUNK / 1e6 + 3):
        array = read_idx(path)
    assert np.array_equal(array, data)


# ---- round trips ---------------------------------------------------------------------------------


@st.composite
def arrays(draw):
    """Of each dtype in each byte order and of 0 to 4 axes, some of length 0; often a view that is
    not contiguous."""
    name = draw(st.sampled_from(DTYPES))
    dtype = np.dtype(name).newbyteorder(draw(st.sampled_from("<>")))
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    shapes = of_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    array = draw(of_numpy.arrays(dtype, shapes, elements=of_numpy.from_dtype(dtype, **finite)))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1]) for _ in array.shape]))
    return array[(..., *(slice(None, None, step) for step in steps))]


@given(array=arrays(), name=st.sampled_from(["some-idx", "some-idx.gz"]))
def test_what_is_written_is_read_back_to_the_bit(tmp_path, array, name):
    path = write_idx(tmp_path / name, array)
    back = read_idx(path)
    native = array.dtype.newbyteorder("=")
    assert (back.shape, back.dtype, back.dtype.isnative) == (array.shape, native, True)
    assert back.tobytes() == array.astype(native).tobytes()  # the sign of a zero, too
    assert back.flags.c_contiguous and back.flags.writeable and back.flags.owndata
    code = {"|u1": 8, "|i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}
    content = path.read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    assert content == idx_bytes(code[big_endian.dtype.str], array.shape, big_endian.tobytes())


# ---- what is written -----------------------------------------------------------------------------


@by_hand
def test_the_writer_makes_the_bytes_that_were_written_by_hand(tmp_path, dtype, content, values):
    for name in ("a", "b.gz", "C.GZ"):
        path = write_idx(tmp_path / name, np.array([values], dtype))
        assert path == tmp_path / name and isinstance(path, Path)
        found = path.read_bytes()
        assert (found[:2] == b"\x1f\x8b") == (name != "a")
        assert (found if name == "a" else gzip.decompress(found)) == content


def test_writing_takes_the_name_as_a_string_and_gives_a_path(tmp_path):
    path = write_idx(str(tmp_path / "a"), np.zeros(2, "u1"))
    assert path == tmp_path / "a" and read_idx(str(path)).tolist() == [0, 0]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_tensors_of_each_backend_are_written(backend, path, dtype, order):
    host = np.arange(12).reshape(3, 4).astype(dtype)
    there = backend.array(host)
    there = there if order == "C" else there.T
    for given_ in (there, tg.Tensor(there)):
        back = read_idx(write_idx(path, given_))
        assert type(back) is np.ndarray and back.dtype == dtype
        assert np.array_equal(back, host if order == "C" else host.T)


def test_one_array_gives_the_same_compressed_bytes_under_any_name_at_any_time(tmp_path):
    array = np.arange(1000, dtype="int16")
    a, b = (write_idx(tmp_path / name, array).read_bytes() for name in ("a.gz", "b.idx.gz"))
    assert a == b
    assert a[3] == 0 and a[4:8] == bytes(4)  # neither a name nor a time


def test_writing_changes_neither_the_array_nor_its_byte_order(path):
    for dtype in ("<i4", ">i4"):
        array = np.arange(6, dtype=dtype).reshape(2, 3)
        write_idx(path, array)
        assert array.dtype.str == dtype and array.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("name", ["some-idx", "some-idx.gz"])
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path, name, monkeypatch):
    path = write_idx(tmp_path / name, np.arange(5, dtype="int32"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_idx(path, np.zeros(70, "uint8"))
    assert read_idx(path).tolist() == [0, 1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_opened_is_an_oserror_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent-idx"):
        read_idx(tmp_path / "absent-idx")
    (tmp_path / "folder.gz").mkdir()
    for use in (read_idx, lambda path: write_idx(path, np.zeros(2, "u1"))):
        with pytest.raises(OSError, match=r"folder\.gz") as error:
            use(tmp_path / "folder.gz")
        assert not isinstance(error.value, ValueError)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_idx(tmp_path / "nowhere" / "a", np.zeros(2, "u1"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_at_once_with_its_name_and_the_cure(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        told = f"{name} is a pipe or a device, which cannot be read twice: write .* into a file"
        with pytest.raises(ValueError, match=told):
            read_idx(tmp_path / name)


@pytest.mark.parametrize("number", [0, 3, None, 1.5])
def test_a_number_is_no_path_although_open_would_take_it_for_an_open_file(number):
    with pytest.raises(TypeError):
        read_idx(number)
    with pytest.raises(TypeError):
        write_idx(number, np.zeros(2, "u1"))


# ---- files that are refused ----------------------------------------------------------------------


@by_hand
@packing
def test_a_file_cut_at_any_byte_is_refused_with_the_byte_where_it_ends(
    path, dtype, content, values, pack
):
    for end in range(len(content)):
        message = "header" if end < 12 else rf"{dtype} \(1, 3\), .* goes on to byte {len(content)}"
        refused(path, pack(content[:end]), end, message)


@by_hand
@packing
def test_a_file_that_goes_on_is_refused_with_the_byte_where_it_should_have_ended(
    path, dtype, content, values, pack
):
    for more in (b"\0", b"\n", bytes(1000)):
        message = rf"{dtype} \(1, 3\), as its header says, is complete, but the data go on"
        refused(path, pack(content + more), len(content), message)


# A code in which one bit changes the kind of number alone: no reader can tell.
ALIKE = {"uint8": "int8", "int8": "uint8", "int32": "float32", "float32": "int32"}


@by_hand
@packing
def test_a_bit_flipped_in_the_header_is_refused_but_where_the_kind_of_number_alone_changes(
    path, dtype, content, values, pack
):
    kept = []
    for byte, bit in itertools.product(range(12), range(8)):
        wrong = bytearray(content)
        wrong[byte] ^= 1 << bit
        path.write_bytes(pack(bytes(wrong)))
        try:
            with at_most(megabytes=4):
                array = read_idx(path)
        except ValueError as error:
            assert re.match(re.escape(f"read_idx: {path}, byte ") + r"\d+", str(error))
        else:
            kept.append((byte, bit, array.dtype.name, array.shape))
    assert kept == ([(2, 0, ALIKE[dtype], (1, 3))] if dtype in ALIKE else [])


@pytest.mark.parametrize(
    ("content", "offset", "message"),
    [
        (b"", 0, "header, of 4 bytes or more"),
        (b"\0\0\x08", 3, "header, of 4 bytes or more"),
        (b"PK\3\4 a zip file", 0, r"begins with two zero bytes, this one with b'PK\\x03\\x04'"),
        (b"<html>404</html>", 0, "this one with b'<htm'"),
        (b"P", 0, "this one with b'P'"),
        (b"\0\1\x08\1\0\0\0\0", 1, "two zero bytes"),
        (b"\1\x08\0\0\0\0\0\0", 0, "two zero bytes"),  # 2049 in the wrong byte order
        (idx_bytes(0x07, (1,), b"a"), 2, r"0x07 is the code of no dtype: there are 0x08 \(uint8\)"),
        (idx_bytes(0x0A, (1,), b"a"), 2, r"0x0b \(int16\), 0x0c \(int32\), 0x0d \(float32\)"),
        (idx_bytes(0x0F, (1,), bytes(8)), 2, r"0x0e \(float64\)"),
        (idx_bytes(0x08, (1,) * 65, b"a"), 3, "65 axes, and NumPy allows 64"),
        (idx_bytes(0x08, (1,) * 255, b"a"), 3, "255 axes, and NumPy allows 64"),
        (idx_bytes(0x08, (1, 1), axes=3), 12, "header, of 16 bytes for 3 axes"),
        (idx_bytes(0x08, (0, 2**32 - 1, 2**32 - 1)), 4, "too much for NumPy"),
    ],
    ids=itertools.count(),
)
@packing
def test_what_is_no_idx_file_is_refused_where_it_is_wrong(path, content, offset, message, pack):
    refused(path, pack(content), offset, message)


def test_a_gzip_file_within_a_gzip_file_is_refused(path):
    refused(path, gzipped(gzipped(idx_bytes(0x08, (), b"a"))), 0, "two zero bytes")


@pytest.mark.parametrize(("code", "lengths"), [
    (0x0C, (2**30, 2**30)), (0x0E, (2**32 - 1,) * 4), (0x08, (2**28,)), (0x0B, (2**14, 2**13)),
])  # fmt: skip
@packing
def test_lengths_that_lie_cost_no_memory(path, code, lengths, pack):
    content = pack(idx_bytes(code, lengths, bytes(28)))
    size = np.dtype(f"V{ {0x0C: 4, 0x0E: 8, 0x08: 1, 0x0B: 2}[code] }").itemsize
    start = 4 + 4 * len(lengths)
    end = start + int(np.prod(lengths, dtype=object)) * size
    with at_most(megabytes=4):
        refused(path, content, start + 28, f"goes on to byte {end}")


def test_a_gzip_file_that_unpacks_to_far_more_than_its_header_says_is_not_unpacked_to_its_end(path):
    content = gzipped(idx_bytes(0x08, (10,), bytes(2**25)))
    with at_most(megabytes=4):
        refused(path, content[:-1], 18, "the data go on")  # and not that it breaks off


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("code", [0x0D, 0x0E])
@packing
def test_the_first_number_that_is_not_finite_is_named_with_its_offset(path, bad, code, pack):
    data = np.zeros((2, 3), ">f4" if code == 0x0D else ">f8")
    data[1, 1] = bad
    data[1, 2] = np.nan
    offset = 12 + 4 * data.itemsize
    content = pack(idx_bytes(code, (2, 3), data.tobytes()))
    refused(path, content, offset, rf"element \(1, 1\) is {bad}")
    scalar = pack(idx_bytes(code, (), data[1, 1:2].tobytes()))
    refused(path, scalar, 4, rf"element \(\) is {bad}")


def test_a_file_that_shrinks_while_it_is_read_is_refused(path, monkeypatch):
    monkeypatch.setattr(idx, "_length", lambda stream, end: end)
    refused(path, idx_bytes(0x0C, (3,), bytes(11)), 19, "shortened while it was read")
    refused(path, gzipped(idx_bytes(0x08, (3,), b"")), 8, "shortened while it was read")


# ---- gzip streams that are refused ---------------------------------------------------------------


@by_hand
def test_a_gzip_file_cut_at_any_byte_is_refused_with_the_byte_where_it_ends(
    path, dtype, content, values
):
    whole = gzipped(content)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=re.escape(f"read_idx: {path}, byte ")) as error:
            read_idx(path)
        if end >= 2:  # before, nobody can know that it is gzip
            assert f", byte {end}: the file ends in the midst of its gzip" in str(error.value)


@by_hand
def test_a_gzip_file_with_a_flipped_bit_is_refused_or_read_as_it_was(path, dtype, content, values):
    # What a reader may not heed: flags, time and system in the header, and the bits that fill the
    # last byte before the checksum.
    whole = gzipped(content)
    unheeded = {*range(3, 10), len(whole) - 9}
    for place in range(8 * len(whole)):
        wrong = bytearray(whole)
        wrong[place // 8] ^= 1 << place % 8
        path.write_bytes(wrong)
        try:
            array = read_idx(path)
        except ValueError as error:
            assert f"read_idx: {path}, byte " in str(error)
        else:
            assert place // 8 in unheeded
            assert array.dtype == dtype and array.tolist() == np.array([values], dtype).tolist()


def test_a_damaged_gzip_stream_is_refused_with_what_had_been_unpacked(path):
    content = idx_bytes(0x08, (300,), bytes(range(200)) + bytes(100))
    whole = gzipped(content)
    checksum = bytearray(whole)
    checksum[-8] ^= 1
    refused(path, bytes(checksum), len(content), "gzip stream is damaged: CRC check failed")
    length = bytearray(whole)
    length[-4] ^= 1
    refused(path, bytes(length), len(content), "gzip stream is damaged: Incorrect length")
    refused(path, whole + b"more", len(content), "gzip stream is damaged: Not a gzipped file")
    refused(path, whole[:2] + b"\7" + whole[3:], 0, "gzip stream is damaged: Unknown compression")
    stored = zlib.compressobj(0, wbits=31)  # blocks of type 3 do not exist
    whole = stored.compress(content) + stored.flush()
    refused(path, whole[:10] + b"\7" + whole[11:], 0, "gzip stream is damaged: .* invalid block")


# ---- arrays that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "cure"),
    [
        (np.arange(10), "uint8"),
        (np.array([0, 255]), "uint8"),
        (np.array([], "int64"), "uint8"),
        (np.array([127, -128]), "int8"),
        (np.array([128, -1]), "int16"),
        (np.array([127, -129]), "int16"),
        (np.array([0, 256]), "int16"),
        (np.array([32767, -32768]), "int16"),
        (np.array([32768], "uint16"), "int32"),
        (np.array([0, -32769]), "int32"),
        (np.array([2**31 - 1, -(2**31)]), "int32"),
        (np.array([2**31], "uint32"), "float64"),
        (np.array([-(2**31) - 1]), "float64"),
        (np.array([2**53, -(2**53)]), "float64"),
        (np.array([0.1, 2.5, 65504], "float16"), "float32"),
        (np.array([[True, False]]), "uint8"),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{v.dtype} {v.tolist()}",
)
def test_a_dtype_that_the_format_lacks_is_refused_with_the_nearest_which_holds_the_values(
    path, array, cure
):
    path.write_bytes(b"the old one")
    told = f"write_idx: {path}: IDX holds uint8, int8, int16, int32, float32 or float64, "
    with pytest.raises(TypeError, match=re.escape(f"{told}not {array.dtype}: ")) as error:
        write_idx(path, array)
    (advice,) = re.findall(r'write array\.astype\("(\w+)"\)', str(error.value))
    assert advice == cure and path.read_bytes() == b"the old one"
    back = read_idx(write_idx(path, array.astype(advice)))
    assert np.array_equal(back, array) and back.shape == array.shape


def test_labels_are_told_their_range(path):
    with pytest.raises(TypeError, match="its values, from 0 to 9, fit uint8"):
        write_idx(path, np.arange(10)[::-1])


@pytest.mark.usefixtures("backend")
def test_labels_of_each_backend_are_told_their_range(backend, path):
    for labels in (backend.array(np.arange(-1, 10)), tg.Tensor(backend.array(np.arange(-1, 10)))):
        with pytest.raises(TypeError, match=r"not int64: its values, from -1 to 9, fit int8"):
            write_idx(path, labels)
    assert not path.exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([2**53 + 1]), "fit none of them"),
        (np.array([-(2**53) - 1]), "fit none of them"),
        (np.array([2**64 - 1], "uint64"), "from 18446744073709551615 to .* fit none of them"),
        (np.zeros(2, complex), "not complex128: it holds no real numbers"),
        (np.array(["a"]), "not <U1: it holds no real numbers"),
        (np.array([None, 1]), "not object: it holds no real numbers"),
        (np.zeros(2, "datetime64[s]"), "it holds no real numbers"),
        (np.zeros(2, [("a", "u1")]), "it holds no real numbers"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "a masked array would lose its mask"),
        ([1, 2], r"a list is no array: pass np.asarray\(x, dtype\), where dtype is one of uint8"),
        (np.float32(1), "a float32 is no array"),
        (3, "a int is no array"),
        (None, "a NoneType is no array"),
        (b"\0\0", "a bytes is no array"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_before_anything_is_written(path, array, message):
    path.write_bytes(b"the old one")
    with pytest.raises(TypeError, match=re.escape(f"write_idx: {path}: ") + f".*(?:{message})"):
        write_idx(path, array)
    assert path.read_bytes() == b"the old one"


@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="a long double is a double here")
def test_a_long_double_is_told_that_float64_rounds_it(path):
    with pytest.raises(TypeError, match=r'not float\d+: write array.astype\("float64"\), which r'):
        write_idx(path, np.zeros(2, "longdouble"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_numbers_that_the_reader_would_refuse_are_not_written(path, bad, dtype):
    array = np.zeros((3, 2), dtype).T
    array[1, 0], array[0, 2] = np.nan, bad
    with pytest.raises(ValueError, match=re.escape(f"{path}: element (0, 2) is {bad}; read_idx")):
        write_idx(path, array)
    assert not path.exists()


def test_an_axis_longer_than_32_bits_is_refused(path):
    with pytest.raises(ValueError, match="axis 1 has length 4294967296: IDX ends at 4294967295"):
        write_idx(path, np.empty((0, 2**32), "u1"))
    assert not path.exists()
    assert read_idx(write_idx(path, np.empty((0, 2**32 - 1), "u1"))).shape == (0, 2**32 - 1)


# ---- as MNIST has them ---------------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
def test_images_and_labels_as_mnist_has_them_go_straight_into_batches_and_a_training_step(
    backend, tmp_path
):
    n = 40
    labels = [k % 10 for k in range(n)]
    rows = [[255 if row // 2 == label else 0 for row in range(28)] for label in labels]
    pixels = bytes(row for image in rows for row in image for _ in range(28))
    # The magic numbers of the four files: 2051 for images, 2049 for labels.
    images = struct.pack(">4I", 2051, n, 28, 28) + pixels
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    for name, content in zip(names, (images, struct.pack(">2I", 2049, n) + bytes(labels))):
        (tmp_path / name).write_bytes(gzipped(content))

    x, y = (read_idx(tmp_path / name) for name in names)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((n, 28, 28), np.uint8, (n,), np.uint8)
    assert x[3].any(axis=1).nonzero()[0].tolist() == [6, 7] and y.tolist() == labels

    tg.manual_seed(0)
    model = tg.nn.Linear(28 * 28, 10)
    optimizer = tg.optim.SGD(model.named_parameters(), lr=0.2)
    ((x_batch, y_batch),) = Batches(x, y, batch_size=n, seed=0)
    assert x_batch.dtype == y_batch.dtype == np.uint8

    def loss():
        pixels = tg.Tensor(x_batch.reshape(n, -1), dtype="float32") / 255
        return tg.cross_entropy(model(pixels), y_batch)

    before = loss()
    before.backward()
    optimizer.step()
    after = loss()
    assert after.dtype == "float32"
    assert after.item() < 0.8 * before.item()
