"""How far to go along a direction: to a point where the loss has fallen enough for the distance,
and where its slope is flat enough for the distance not to be too short (Wolfe 1969).

    f(t) ≤ f(0) + c₁ t f'(0)        and        |f'(t)| ≤ c₂ |f'(0)|

Algorithms 3.5 and 3.6 of Nocedal, Wright, Numerical Optimization (2006): first enlarge the step
until it encloses such a point, then narrow the interval down.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from tinygrad_opt.backend import Array

C1, C2 = 1e-4, 0.9
MOST = 25  # evaluations; an interval halved 25 times is at the end of float32's resolution


class Point(NamedTuple):
    """The loss along a direction: how far, its value, its slope and the gradient there."""

    length: float
    f: float
    slope: float
    g: Array


def strong_wolfe(
    at: Callable[[float], Point], start: Point, length: float, tolerance: float = 0.0
) -> Point:
    """A point that fulfils both conditions, or the best that was found where none can be.

    Args:
        at: evaluates the loss at a length. A loss or slope that is not finite counts as too far.
        start: where the search begins, with length 0 and a negative slope.
        length: the first length to try.
        tolerance: an interval shorter than this is not divided further.
    """
    low = start  # the best so far, of those that fell enough
    for n in range(MOST):
        here = at(length)
        if not _finite(here) or not _fell(here, start) or (n and here.f >= low.f):
            return _zoom(at, start, low, here, MOST - n - 1, tolerance)
        if abs(here.slope) <= -C2 * start.slope:
            return here
        if here.slope >= 0:
            return _zoom(at, start, here, low, MOST - n - 1, tolerance)
        farther = _cubic(low, here)
        least, most = here.length + 0.01 * (here.length - low.length), 10 * here.length
        low, length = here, min(max(farther, least), most)
    return low


def _zoom(at: Callable[[float], Point], start: Point, low: Point, high: Point, left: int,
          tolerance: float) -> Point:  # fmt: skip
    """Between `low`, which fell enough and slopes towards `high`, and `high`, there is one."""
    for _ in range(left):
        width = high.length - low.length
        if abs(width) <= tolerance:
            break
        length = _cubic(low, high)
        # Not nearer to an end than a tenth: else the interval might never get short.
        inside = sorted((low.length + 0.1 * width, high.length - 0.1 * width))
        here = at(min(max(length, inside[0]), inside[1]))
        if not _finite(here) or not _fell(here, start) or here.f >= low.f:
            high = here
            continue
        if abs(here.slope) <= -C2 * start.slope:
            return here
        if here.slope * width >= 0:
            high = low
        low = here
    return low


def _fell(here: Point, start: Point) -> bool:
    return here.f <= start.f + C1 * here.length * start.slope


def _finite(here: Point) -> bool:
    return math.isfinite(here.f) and math.isfinite(here.slope)


def _cubic(a: Point, b: Point) -> float:
    """Where the cubic through both values and slopes is least (equation 3.59), or the middle."""
    middle = (a.length + b.length) / 2
    if not _finite(b) or a.length == b.length:
        return middle
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return middle
    d2 = math.copysign(math.sqrt(square), b.length - a.length)
    under = b.slope - a.slope + 2 * d2
    if not under:
        return middle
    least = b.length - (b.length - a.length) * (b.slope + d2 - d1) / under
    return least if math.isfinite(least) else middle  # large values overflow when squared
