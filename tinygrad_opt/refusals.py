"""What tensors and the walk refuse, and in which words: each mistake is a function here that gives
the error to raise.

So the floors below read as what they compute, `raise refusals.released(t)`, and all that a user may
be told stands in one place. A message names the op, the shapes or dtypes, and the cure. Nothing
here runs on the path of a healthy step.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, array_module, is_array, name_of

# ---- making and editing tensors ------------------------------------------------------------------


def tensor_of_tensor() -> TypeError:
    return TypeError(
        "Tensor(tensor) would cut the graph unseen: use tensor.detach() or tensor.astype()"
    )


def not_a_flag(value: Any) -> TypeError:
    return TypeError(f"requires_grad is True or False, not {value!r}")


def subclass() -> TypeError:
    return TypeError("Tensor cannot be subclassed: write functions on tensors, or an nn.Module")


def not_differentiable(dtype: np.dtype) -> TypeError:
    """There is no gradient on the integers."""
    return TypeError(
        f"{dtype} data cannot require a gradient: write 1.0 instead of 1, or give dtype='float32'"
    )


def flag_of_result(op: Any) -> RuntimeError:
    return RuntimeError(
        f"requires_grad of a result (of {op.__name__}) follows from its inputs: use detach() to "
        "stop the gradient here"
    )


def frozen_too_late() -> RuntimeError:
    return RuntimeError(
        "an optimizer holds this tensor and would go on moving it: freeze first, and make the "
        "optimizer from what is left"
    )


def unlike(mine: Array, value: Array, what: str) -> Exception | None:
    """Why `value` cannot be the `what` of a tensor whose array is `mine`; None where it can."""
    if array_module(value) is not array_module(mine):
        return TypeError(
            f".{what} of a {name_of(mine)} tensor cannot be a {name_of(value)} array: move one of "
            f'them with .to("{name_of(mine)}")'
        )
    if value.dtype != mine.dtype:
        return TypeError(
            f".{what} is {mine.dtype} and would be assigned {value.dtype}: say so with "
            f".astype('{mine.dtype}'), or keep to Python numbers (np.float64 scalars promote)"
        )
    if value.shape != mine.shape:
        return ValueError(
            f".{what} has shape {mine.shape} and would be assigned {value.shape}; a tensor of "
            "another shape is a new Tensor"
        )
    return None


def update_by_hand(symbol: str) -> RuntimeError:
    return RuntimeError(
        f"w {symbol} ... on a leaf that requires a gradient would be lost to the graph. An update "
        f"by hand is written\n    with tg.no_grad():\n        w {symbol} ..."
    )


def unrecorded_edit() -> RuntimeError:
    return RuntimeError(
        "x[key] = ... is not recorded: use tg.where, or edit under tg.no_grad()"
    )


# ---- what a tensor does not turn into ------------------------------------------------------------


def not_single(what: str, shape: tuple) -> ValueError:
    return ValueError(f"{what} wants a single element, this tensor has shape {shape}")


def ambiguous(shape: tuple) -> ValueError:
    return ValueError(f"the truth of a tensor of shape {shape} is ambiguous: reduce it first")


def no_axes(what: str) -> TypeError:
    return TypeError(f"{what} a 0-d tensor")


def hidden_copy() -> TypeError:
    return TypeError("a CuPy tensor is not copied to the host by itself: use .numpy()")


def cut_graph() -> TypeError:
    return TypeError(
        "a tensor that requires a gradient does not turn into an array by itself: that would cut "
        "the graph unseen. Use .numpy(), or tg.stack for a list of tensors"
    )


def cut_by_dlpack() -> BufferError:
    return BufferError("DLPack would cut the graph unseen: export tensor.detach()")


def not_a_leaf(op: Any) -> TypeError:
    return TypeError(
        f"only leaves can be copied or pickled, and this is a result of {op.__name__}: detach() it "
        "first"
    )


def not_an_op(name: str, how: str = "") -> TypeError:
    return TypeError(
        f"np.{name}{how} is not an op of tensors: use tensor.numpy() where no gradient is wanted"
    )


def only_for_bools(symbol: str, op: Any) -> TypeError:
    return TypeError(f"{symbol} combines tensors of bools; for others: tg.{op.__name__}")


# ---- calling ops ---------------------------------------------------------------------------------

_OPERANDS = (bool, int, float, str, tuple, slice, type(Ellipsis), np.dtype)  # beside arrays


def retold(error: Exception, op: str, values: list) -> Exception:
    """The error of an array library in our words: the op, the shapes, the cure."""
    text, arrays = str(error), [v for v in values if is_array(v)]
    if text.startswith(f"{op}: "):
        return copy.copy(error)  # a new one, for no error can be its own cause
    if len({name_of(v) for v in arrays}) > 1:
        return TypeError(f"{op}: a NumPy array meets a CuPy array. Move one of them, with "
                         '.to("cupy") or .to("numpy")')  # fmt: skip
    for n, v in enumerate(values):
        foreign = not isinstance(v, _OPERANDS) and not is_array(v)
        foreign |= isinstance(v, str) and "ufunc" in text
        if foreign and (v is not None or isinstance(error, (TypeError, AttributeError))):
            return TypeError(f"{op}: cannot take a {type(v).__name__} as argument {n}")
    if isinstance(error, AttributeError) and any(error.obj is v for v in values if not is_array(v)):
        return TypeError(f"{op}: wants an array or Tensor, not a {type(error.obj).__name__}")
    if "broadcast" in text and len(arrays) > 1:
        shapes = " and ".join(str(v.shape) for v in arrays)
        return ValueError(f"{op}: shapes {shapes} do not broadcast")
    try:
        return type(error)(f"{op}: {text}")
    except TypeError:  # its constructor takes more than a text, as those of NumPy's ufuncs do
        kinds = (ValueError, TypeError, IndexError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), None)
        return kind(f"{op}: {text}") if kind else copy.copy(error)


def not_real(a: Any) -> TypeError | None:
    """Why `a` is no operand: None where it holds real numbers, or none at all."""
    kind = "c" if isinstance(a, complex) else getattr(a, "dtype", np.dtype(bool)).kind
    if kind == "c":
        return TypeError("complex numbers are not supported")
    return None if kind in "fiub" else TypeError(f"arrays hold real numbers, not {a.dtype}")


def no_array(op: Any, y: Any) -> TypeError:
    return TypeError(f"{op.__name__} gave a {type(y).__name__}: an op gives one array")


def keyword_only(forward: Callable) -> TypeError:
    return TypeError(f"{forward.__name__}: a tensor cannot be given to a keyword-only argument")


def mode_of_generator(mode: Any) -> TypeError:
    return TypeError(
        f"{type(mode).__name__}: in a generator or coroutine, write the `with` inside it"
    )


# ---- the walk ------------------------------------------------------------------------------------


def not_a_tensor(y: Any) -> TypeError:
    return TypeError(f"only a Tensor has a graph to walk, not a {type(y).__name__}")


def nothing_below(y: Any) -> RuntimeError:
    return RuntimeError(
        f"nothing below this tensor requires a gradient ({y!r}): give a leaf requires_grad=True, "
        "and compute the result outside no_grad() and without detach()"
    )


def no_cotangent(shape: tuple) -> RuntimeError:
    return RuntimeError(
        f"backward from shape {shape} needs a cotangent of that shape: reduce to a scalar first, "
        "with .mean() or .sum(), or pass cotangent="
    )


def misfit_cotangent(given: tuple, shape: tuple) -> ValueError:
    return ValueError(f"a cotangent of shape {given} for a result of shape {shape}")


def edited(t: Any, what: str) -> RuntimeError:
    line = f" (called at {t.origin[0]})" if t.origin else ""
    return RuntimeError(
        f"the data of {what} of {t.op.__name__}{line} was edited between forward and backward: the "
        "gradient would be that of other numbers. Edit before the forward pass or after backward()"
    )


def released(t: Any) -> RuntimeError:
    return RuntimeError(
        f"the graph through {t.op.__name__} was already walked and released by backward(): run the "
        "forward pass again, or call backward(retain_graph=True) the first time"
    )


def no_derivative(op: Any, n: int) -> TypeError:
    if not op.vjps:
        return TypeError(f"{op.__name__} has no derivatives yet: give them with defvjp(...)")
    return TypeError(f"{op.__name__} has no derivative with respect to argument {n}: detach() it")


def failed(t: Any, vjp: Any, x: Any, gx: Any, error: Exception) -> Exception:
    """The error of a VJP of t's op, retold: whose it was, and what it gave where that is wrong."""
    who = f"the VJP of {t.op.__name__} for argument {place(t, vjp)}"
    if vjp is None:
        return no_derivative(t.op, place(t, vjp))
    if isinstance(error, FloatingPointError):  # an op of a recorded VJP found an anomaly
        return bad_cotangent(t, vjp) if t.origin else copy.copy(error)
    if gx is not None and hasattr(gx, "shape"):
        return ValueError(f"{who} gave shape {gx.shape} for an argument of shape {x.shape}")
    if isinstance(error, AttributeError) and error.obj is gx:
        return TypeError(f"{who} gave a {type(gx).__name__}, not an array ({error})")
    return retold(error, who, [])


def bad_cotangent(t: Any, vjp: Any) -> FloatingPointError:
    return FloatingPointError(
        f"the VJP of {t.op.__name__} for argument {place(t, vjp)} made a NaN or inf; the op was "
        f"called at {t.origin[0]}"
    )


def place(t: Any, vjp: Any) -> int:
    """Which argument of t's op this VJP is for, counted from 0."""
    if isinstance(vjp, functools.partial):  # one of an op with any number of arguments
        return vjp.args[0]
    return next(n for n, other in enumerate(t.op.vjps) if other is vjp)
