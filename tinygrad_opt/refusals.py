"""What tensors and the walk refuse, and in which words: each mistake is a function that gives the
error to raise.

So the floors around read as what they compute, `raise refusals.released(t)`. A message names the
op, the shapes or dtypes, and the cure. What is refused of the arguments of single ops stands in
arguments.py.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, is_array, name_of

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


def of_another_backend(mine: Array, value: Array, what: str) -> TypeError:
    return TypeError(
        f".{what} of a {name_of(mine)} tensor cannot be a {name_of(value)} array: move one of them "
        f'with .to("{name_of(mine)}")'
    )


def of_another_dtype(mine: Array, value: Array, what: str) -> TypeError:
    return TypeError(
        f".{what} is {mine.dtype} and would be assigned {value.dtype}: say so with "
        f".astype('{mine.dtype}'), or keep to Python numbers (np.float64 scalars promote)"
    )


def of_another_shape(mine: Array, value: Array, what: str) -> ValueError:
    return ValueError(
        f".{what} has shape {mine.shape} and would be assigned {value.shape}; a tensor of another "
        "shape is a new Tensor"
    )


def update_by_hand(symbol: str) -> RuntimeError:
    return RuntimeError(
        f"w {symbol} ... on a leaf that requires a gradient would be lost to the graph. An update "
        f"by hand is written\n    with tg.no_grad():\n        w {symbol} ..."
    )


def unrecorded_edit() -> RuntimeError:
    return RuntimeError(
        "x[key] = ... is not recorded: use tg.where, or edit under tg.no_grad()"
    )


def misfit_item(value: Array, place: Array, error: ValueError) -> ValueError:
    return ValueError(f"x[key] = ...: shape {value.shape} does not fit {place.shape}: {error}")


# ---- what a tensor does not turn into ------------------------------------------------------------


def not_single(shape: tuple) -> ValueError:
    return ValueError(f"item() wants a single element, this tensor has shape {shape}")


def ambiguous(shape: tuple) -> ValueError:
    return ValueError(f"the truth of a tensor of shape {shape} is ambiguous: reduce it first")


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


def not_an_op(name: str, keywords: Sequence[str] = ()) -> TypeError:
    name = name.replace("numpy.", "np.") + (f" with {', '.join(keywords)}" if keywords else "")
    return TypeError(
        f"{name} is not an op of tensors: write it with those that tg has, or use tensor.numpy() "
        "where no gradient is wanted"
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
        return mixed_backends(op)
    for n, v in enumerate(values):
        foreign = not isinstance(v, _OPERANDS) and not is_array(v)
        foreign |= isinstance(v, str) and ("ufunc" in text or "Unsupported type" in text)
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


def mixed_backends(op: str) -> TypeError:
    return TypeError(f"{op}: a NumPy array meets a CuPy array. Move one of them, with "
                     '.to("cupy") or .to("numpy")')  # fmt: skip


def misfit_factors(a: Any, b: Any, error: Exception) -> Exception:
    """What is wrong with a @ b, if it is the shapes; else the error as it was."""
    if any(isinstance(x, (int, float)) or getattr(x, "ndim", 1) == 0 for x in (a, b)):
        return ValueError("a 0-d operand: scale with * instead")
    if isinstance(error, TypeError) or a.shape[-1] == (inner := b.shape[max(b.ndim - 2, 0)]):
        return error
    return ValueError(f"{a.shape} @ {b.shape}: {a.shape[-1]} != {inner}")


def complex_numbers() -> TypeError:
    return TypeError("complex numbers are not supported")


def not_numbers(dtype: np.dtype) -> TypeError:
    return TypeError(f"arrays hold real numbers, not {dtype}")


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


def no_targets(xs: Any) -> TypeError:
    return TypeError(f"grad: xs is a Tensor or a list of Tensors, not {xs!r}")


def no_gradient_wanted(x: Any) -> RuntimeError:
    return RuntimeError(f"grad: {x!r} does not require a gradient: set requires_grad=True")


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


def failed(t: Any, n: int, x: Any, gx: Any, error: Exception) -> Exception:
    """The error of the n-th VJP of t's op, retold: whose it was, and what it gave where that is
    wrong."""
    who = f"the VJP of {t.op.__name__} for argument {n}"
    if isinstance(error, FloatingPointError):  # an op of a recorded VJP found an anomaly
        return bad_cotangent(t, n) if t.origin else copy.copy(error)
    if gx is not None and hasattr(gx, "shape"):
        return ValueError(f"{who} gave shape {gx.shape} for an argument of shape {x.shape}")
    if isinstance(error, AttributeError) and error.obj is gx:
        return TypeError(f"{who} gave a {type(gx).__name__}, not an array ({error})")
    return retold(error, who, [])


def bad_result(op: Any, line: str) -> FloatingPointError:
    return FloatingPointError(f"{op.__name__} made a NaN or inf of finite inputs, at {line}")


def bad_cotangent(t: Any, n: int) -> FloatingPointError:
    return FloatingPointError(
        f"the VJP of {t.op.__name__} for argument {n} made a NaN or inf; the op was called at "
        f"{t.origin[0]}"
    )
