"""What the tables of wrong inputs share: short names, and the wording that many errors have."""

import re

import numpy as np

import tinygrad_opt as tg

T, V, I, R = TypeError, ValueError, IndexError, RuntimeError
nan = float("nan")

here = tg.backend.asarray  # an array on the backend of the test

WRONG = {}  # "section: name" to (mistake, exception, pattern of the message)


def table(section, *lines):
    """Add `lines`, each a (name, mistake, exception, pattern); a mistake is a function of w."""
    for name, mistake, error, message in lines:
        assert f"{section}: {name}" not in WRONG
        WRONG[f"{section}: {name}"] = mistake, error, message


def axis(op, n=2, ndim=2):
    """How an axis that is not there is refused, in NumPy's words or in ours."""
    end = f"out of bounds for array of dimension {ndim}|out of range for a tensor with {ndim} axes"
    return rf"^{op}: axis {n} is ({end})"


def shapes(op, *them):
    return "^" + re.escape(f"{op}: shapes {' and '.join(map(str, them))} do not broadcast") + "$"


def same_shape(op, prediction, target):
    sizes = f"the prediction has shape {prediction} and the target {target}"
    return "^" + re.escape(f"{op}: {sizes}; losses never broadcast")


# ---- mistakes that are statements ----------------------------------------------------------------


def assign(name, value):
    def mistake(w):
        setattr(w.x, name, value(w) if callable(value) else value)

    return mistake


def recorded(statement):
    return lambda w: exec(statement, {"w": w, "np": np, "here": here})


def unrecorded(statement):
    def mistake(w):
        with tg.no_grad():
            exec(statement, {"w": w, "np": np, "here": here})

    return mistake
