"""What CuPy refuses, the stand-in refuses with the same error: one line a refusal.

Where there is a GPU, real CuPy is asked the same. The arrays are those of strict_cupy/example.py.
The given part of the message must occur; nothing is given where the words differ.
"""

import re

import numpy as np
import pytest
from strict_cupy.example import names_for

IMPLICIT = "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
MIXED = "Unsupported type <class 'numpy.ndarray'>"
NO_ARRAY_B = "Argument 'b' has incorrect type"
NO_FILL = "non-scalar numpy.ndarray cannot be used for fill"
NO_INTEGER = "'ndarray' object cannot be interpreted as an integer"
WRONG = "got an unexpected keyword argument"

REFUSED = [
    # An array never becomes a NumPy array by itself.
    ("np.asarray(x)", TypeError, IMPLICIT),
    ("np.array([s, s])", TypeError, IMPLICIT),
    ("np.mean([s, s])", TypeError, IMPLICIT),
    ("np.float32(s)", TypeError, IMPLICIT),
    ("np.testing.assert_allclose(x, n)", TypeError, IMPLICIT),
    ("np.random.default_rng(0).permutation(x)", TypeError, IMPLICIT),
    ("n[0] = x[0]", TypeError, IMPLICIT),
    ("n[i]", TypeError, IMPLICIT),
    ("memoryview(x)", TypeError, ""),
    # NumPy refuses here, with a RuntimeError up to 2.4 and a BufferError since.
    ("np.from_dlpack(x)", (RuntimeError, BufferError), "Unsupported device in DLTensor"),
    # It does not meet one either, be it 0-d or the place for the result.
    ("x + n", TypeError, MIXED),
    ("n + x", TypeError, MIXED),
    ("x + np.array(2.0)", TypeError, MIXED),
    ("np.array(2.0) * x", TypeError, MIXED),
    ("x += n", TypeError, MIXED),
    ("n += x", TypeError, MIXED),
    ("x == n", TypeError, MIXED),
    ("n < x", TypeError, MIXED),
    ("cp.exp(n)", TypeError, MIXED),
    ("cp.add(x, n)", TypeError, MIXED),
    ("cp.add(x, x, out=n)", TypeError, MIXED),
    ("np.add(n, n, out=x)", TypeError, MIXED),
    ("cp.maximum(x, n)", TypeError, MIXED),
    ("cp.where(x > 2, n, 0)", TypeError, MIXED),
    ("cp.where(n > 2, x, 0)", TypeError, MIXED),
    ("np.where(n > 2, x, 0)", TypeError, MIXED),
    ("cp.where(True, x, 0)", AttributeError, "'bool' object has no attribute 'astype'"),
    ("cp.clip(x, n, 4)", TypeError, MIXED),
    ("cp.concatenate([x, n])", TypeError, MIXED),
    ("np.concatenate([n, x])", TypeError, MIXED),
    ("cp.stack([x, n])", TypeError, ""),
    ("cp.array_equal(x, n)", TypeError, MIXED),
    ("cp.tensordot(x, n)", TypeError, ""),
    ("cp.broadcast_to(n, (2, 2, 3))", TypeError, ""),
    ("cp.cumsum(n)", TypeError, ""),
    ("cp.add.at(x, 0, n[0])", TypeError, MIXED),
    ("cp.asarray([s, 1.0])", TypeError, IMPLICIT),
    ("cp.asarray([s, n])", TypeError, IMPLICIT),
    ("x @ n.T", TypeError, NO_ARRAY_B),
    ("n @ x.T", TypeError, "Argument 'a' has incorrect type"),
    ("cp.matmul(x, n.T)", TypeError, NO_ARRAY_B),
    # Numbers are no arrays, lists are neither.
    ("x @ 2.0", TypeError, NO_ARRAY_B),
    ("x @ s", ValueError, ""),
    ("cp.dot(x, 2.0)", TypeError, NO_ARRAY_B),
    ("x.dot(2.0)", TypeError, NO_ARRAY_B),
    ("cp.exp([1.0])", TypeError, "Unsupported type <class 'list'>"),
    ("x + [1, 2, 3]", TypeError, "all returned NotImplemented"),
    ("[1, 2, 3] + x", TypeError, "Unsupported type <class 'list'>"),
    ("x + None", TypeError, "all returned NotImplemented"),
    ("x + 'a'", TypeError, "all returned NotImplemented"),
    ("x * np.longdouble(2)", TypeError, "all returned NotImplemented"),
    ("x.astype('u1') + 300", OverflowError, "out of bounds for uint8"),
    # A 0-d array is no Python integer, and no array can be a key.
    ("range(k.max())", TypeError, NO_INTEGER),
    ("operator.index(k.argmax())", TypeError, NO_INTEGER),
    ("[1, 2, 3][k.min()]", TypeError, "list indices must be integers or slices, not ndarray"),
    ("cp.zeros(k.max())", TypeError, ""),
    ("x.reshape(k[0, 1], -1)", TypeError, NO_INTEGER),
    ("x.swapaxes(k[0, 0], 1)", TypeError, NO_INTEGER),
    ("x.sum(axis=k[0, 1])", TypeError, ""),
    ("round(s)", TypeError, "__round__"),
    ("hash(x)", TypeError, "unhashable type: 'ndarray'"),
    ("{s: 1}", TypeError, "unhashable type: 'ndarray'"),
    ("len(s)", TypeError, "len() of unsized object"),
    ("list(s)", TypeError, "iteration over a 0-d array"),
    ("float(x)", TypeError, "arrays can be converted to Python scalars"),
    ("bool(x)", ValueError, "The truth value of an array with more than one element is ambiguous"),
    ("s.item(0)", TypeError, "item() takes"),
    ("x.item()", ValueError, "can only convert an array of size 1 to a Python scalar"),
    ("f'{x:.2f}'", TypeError, "unsupported format string"),
    # Assignment from the host; `x.set(n)` or `cupy.asarray(n)` is the way.
    ("x[...] = n", ValueError, NO_FILL),
    ("x[:] = n", ValueError, NO_FILL),
    ("x[0] = n[0]", ValueError, NO_FILL),
    ("x[0] = [1, 2, 3]", ValueError, NO_FILL),
    ("x.fill(n)", ValueError, NO_FILL),
    ("x.fill(x)", ValueError, "non-scalar cupy.ndarray cannot be used for fill"),
    ("cp.copyto(x, n)", ValueError, "non-scalar numpy.ndarray cannot be used for copyto"),
    ("np.copyto(x, n)", ValueError, "non-scalar numpy.ndarray cannot be used for copyto"),
    ("x[0] += n[0]", TypeError, MIXED),
    ("x.set([[1]])", TypeError, "Only numpy.ndarray can be set to cupy.ndarray"),
    ("x.set(n.astype('f8'))", TypeError, "float64 array cannot be set to float32 array"),
    ("x.set(n.T)", ValueError, "Shape mismatch"),
    ("x[:, ::2].set(n[:, ::2])", RuntimeError, "Cannot set to non-contiguous array"),
    ("x.get(out=np.empty((2, 3)))", TypeError, "float64 array cannot be obtained from float32"),
    ("cp.from_dlpack(n)", TypeError, "CPU arrays cannot be directly imported to CuPy"),
    # Indices.
    ("x[2]", IndexError, "ndex 2 is out of bounds for axis 0 with size 2"),
    ("x[0, -4]", IndexError, "ndex -4 is out of bounds for axis 1 with size 3"),
    ("x[0, 0, 0]", IndexError, "too many indices"),
    ("x[x]", IndexError, "arrays used as indices must be of integer or boolean type"),
    ("x[cp.zeros((3, 3), bool)]", IndexError, "boolean index did not match"),
    ("del x[0]", NotImplementedError, "Subscript deletion not supported"),
    # Arguments that NumPy has and CuPy has not.
    ("x.sum(initial=1)", TypeError, WRONG),
    ("x.sum(where=True)", TypeError, WRONG),
    ("cp.sum(x, initial=1)", TypeError, WRONG),
    ("np.sum(x, initial=1)", TypeError, WRONG),
    ("x.max(initial=0)", TypeError, WRONG),
    ("x.mean(where=True)", TypeError, WRONG),
    ("x.std(correction=1)", TypeError, WRONG),
    ("cp.clip(x, min=2)", TypeError, ""),
    ("np.clip(x, min=2)", TypeError, ""),
    ("cp.einsum('ij->i', x, out=x)", TypeError, "Did not understand the following kwargs: ['out']"),
    ("cp.add.reduce(x, initial=1)", TypeError, WRONG),
    ("cp.add(x, x, where=True)", TypeError, "Wrong arguments {'where': True}"),
    ("np.exp(x, where=True)", TypeError, "Wrong arguments {'where': True}"),
    ("cp.add(x, x, order='C')", TypeError, "Wrong arguments {'order': 'C'}"),
    ("cp.matmul(x, x.T, where=True)", TypeError, WRONG),
    ("cp.zeros(3, device='cpu')", TypeError, WRONG),
    ("x.astype('f8', casting='safe')", TypeError, "casting is not supported yet"),
    ("np.divmod(x, 2, out=(x, y))", ValueError, "must have exactly one array value"),
    ("cp.add(x)", TypeError, "Wrong number of arguments for 'cupy_add'"),
    ("cp.add(x, x, out=k)", TypeError, "according to the rule 'same_kind'|with casting rule"),
    # Half of the ufunc methods.
    ("cp.maximum.reduce(x)", NotImplementedError, "`cupy_maximum.reduce` is not supported yet"),
    ("np.maximum.reduce(x)", NotImplementedError, "`cupy_maximum.reduce` is not supported yet"),
    ("cp.logical_and.reduce(x)", NotImplementedError, "`cupy_logical_and.reduce` is not supported"),
    ("cp.maximum.accumulate(x)", NotImplementedError, "`cupy_maximum.accumulate` is not"),
    ("cp.multiply.at(x, i, 1.0)", NotImplementedError, "`cupy_multiply.at` is not supported yet"),
    ("np.multiply.at(x, i, 1.0)", NotImplementedError, "`cupy_multiply.at` is not supported yet"),
    ("cp.subtract.at(x, i, 1.0)", TypeError, "cupy.subtract.at only supports int32, uint32"),
    ("cp.subtract.at(k, i, 1)", TypeError, "cupy.subtract.at only supports int32, uint32"),
    ("cp.maximum.at(x.astype('f2'), i, 1)", TypeError, "cupy.maximum.at only supports int32"),
    ("cp.add.at(x.astype('i2'), i, 1)", TypeError, "cupy.add.at only supports int32, int64"),
    ("cp.add.at(n, i, 1.0)", AttributeError, "object has no attribute '_scatter_op'"),
    # Dtypes.
    ("cp.asarray('a')", ValueError, "Unsupported dtype <U1"),
    ("cp.asarray([None])", ValueError, "Unsupported dtype object"),
    ("cp.asarray([[1], [1, 2]])", ValueError, "inhomogeneous shape"),
    ("cp.zeros(3, dtype=object)", ValueError, "Unsupported dtype object"),
    ("cp.zeros(3, dtype=np.longdouble)", ValueError, "Unsupported dtype float"),
    ("x.astype(object)", ValueError, "Unsupported dtype object"),
    ("x.astype(np.longdouble)", ValueError, "Unsupported dtype float"),
    ("(x > 2) - (x > 3)", TypeError, "boolean subtract"),
    ("-(x > 2)", TypeError, "boolean negative"),
    # Names that NumPy has and CuPy has not.
    *((f"cp.{name}", AttributeError, f"has no attribute '{name}'") for name in (
        "block", "einsum_path", "errstate", "frompyfunc", "geomspace", "geterr", "insert",
        "longdouble", "matvec", "ndenumerate", "nditer", "object_", "scatter_add", "seterr", "str_",
        "unstack", "vecdot",
    )),
    *((f"x.{name}", AttributeError, f"has no attribute '{name}'") for name in (
        "__array_interface__", "__array_namespace__", "ctypes", "newbyteorder", "resize",
        "setflags",
    )),
    ("np.insert(x, 0, 1)", TypeError, "no implementation found for 'numpy.insert'"),
    ("np.block([x, x])", TypeError, "no implementation found for 'numpy.block'"),
    ("x.flags.writeable", AttributeError, "'Flags' object has no attribute 'writeable'"),
    ("x.flags['WRITEABLE']", KeyError, "WRITEABLE is not defined"),
    ("cp.add.identity", AttributeError, "identity"),
    *((f"cp.random.Generator.{name}", AttributeError, f"has no attribute '{name}'") for name in (
        "bit_generator", "choice", "normal", "permutation", "shuffle",
    )),
    ("x.loss = 1", AttributeError, "object has no attribute 'loss'"),
    ("x.dtype = 'i4'", AttributeError, ""),
    # Shapes: the words differ, the kind of error does not.
    ("x + x[:, :2]", ValueError, ""),
    ("x @ x", ValueError, ""),
    ("x.reshape(4)", ValueError, "cannot reshape array of size 6 into shape (4,)"),
    ("cp.pad(x, ((1,), (2,)))", ValueError, "cannot reshape array of size 2 into shape (2,2)"),
    ("x.squeeze(0)", ValueError, "cannot select an axis to squeeze out"),
    ("x.sum(axis=2)", np.exceptions.AxisError, "axis 2 is out of bounds for array of dimension 2"),
    ("cp.add(x, x, out=x[:1])", ValueError, ""),
]  # fmt: skip


@pytest.mark.parametrize(("code", "error", "message"), REFUSED, ids=[c for c, _, _ in REFUSED])
def test_is_refused_as_cupy_refuses_it(cp, code, error, message):
    pattern = "|".join(re.escape(m) for m in message.split("|"))
    with pytest.raises(error, match=pattern or None):
        exec(code, names_for(cp))
