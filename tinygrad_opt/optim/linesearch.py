"""How far to go along a direction: to a point where the loss has fallen enough for the distance,
and where its slope is flat enough for the distance not to be too short (Wolfe 1969).

    f(t) ≤ f(0) + c₁ t f'(0)        and        |f'(t)| ≤ c₂ |f'(0)|

Algorithms 3.5 and 3.6 of Nocedal, Wright, Numerical Optimization (2006): first enlarge the step
until it encloses such a point, then narrow the interval down. Near the minimum the loss changes by
less than its rounding, long before its slopes do; there a difference of losses is taken from the
slopes, f(b) - f(a) = (b - a) (f'(a) + f'(b)) / 2. The first condition then reads
f'(t) ≤ (2 c₁ - 1) f'(0), the approximate Wolfe condition of Hager, Zhang (2005).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from tinygrad_opt.backend import Array

C1, C2 = 1e-4, 0.9
MOST = 25  # evaluations; an interval halved 25 times is at the end of float32's resolution


class Point(NamedTuple):
    """The loss along a direction: how far, its value, its slope and the gradient there.

    `rounding` is by how much two losses of this size may differ by rounding alone.
    """

    length: float
    f: float
    slope: float
    g: Array
    rounding: float = 0.0


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
        if not _finite(here) or not _fell(start, here) or (n and _change(low, here) >= 0):
            return _zoom(at, start, low, here, MOST - n - 1, tolerance)
        if abs(here.slope) <= -C2 * start.slope:
            return here
        if here.slope >= 0:
            return _zoom(at, start, here, low, MOST - n - 1, tolerance)
        farther = _cubic(low, here)
        if not farther > here.length:  # the cubic falls and falls from here on
            farther = math.nan
        least, most = here.length + 0.01 * (here.length - low.length), 10 * here.length
        low, length = here, _between(least, most, farther)
    return low


def _zoom(at: Callable[[float], Point], start: Point, low: Point, high: Point, left: int,
          tolerance: float) -> Point:  # fmt: skip
    """Between `low`, which fell enough and slopes towards `high`, and `high`, there is one."""
    for _ in range(left):
        width = high.length - low.length
        if abs(width) <= tolerance:
            break
        # Not nearer to an end than a tenth: else the interval might never get short.
        least, most = sorted((low.length + 0.1 * width, high.length - 0.1 * width))
        here = at(_between(least, most, _cubic(low, high)))
        if not _finite(here) or not _fell(start, here) or _change(low, here) >= 0:
            high = here
            continue
        if abs(here.slope) <= -C2 * start.slope:
            return here
        if here.slope * width >= 0:
            high = low
        low = here
    return low


def _fell(start: Point, here: Point) -> bool:
    return _change(start, here) <= C1 * here.length * start.slope


def _change(a: Point, b: Point) -> float:
    """f(b) - f(a), from the slopes where rounding hides it."""
    seen, by_slopes = b.f - a.f, (b.length - a.length) * (a.slope + b.slope) / 2
    hidden = max(abs(seen), abs(by_slopes)) <= max(a.rounding, b.rounding)
    return by_slopes if hidden else seen


def _finite(here: Point) -> bool:
    return math.isfinite(here.f) and math.isfinite(here.slope)


def _between(least: float, most: float, length: float) -> float:
    """The length, or the nearer bound where it is outside of them; the middle where it is NaN."""
    return (least + most) / 2 if math.isnan(length) else min(max(length, least), most)


def _cubic(a: Point, b: Point) -> float:
    """Where the cubic through both values and slopes is least (equation 3.59); NaN if nowhere.

    Where rounding of the values decides whether there is such a place, the slopes alone tell it:
    where the line through them is zero.
    """
    width = b.length - a.length
    if not _finite(b) or not width:
        return math.nan
    d1 = a.slope + b.slope - 3 * (b.f - a.f) / width
    square = d1 * d1 - a.slope * b.slope
    if abs(square) <= abs(6 * d1 * max(a.rounding, b.rounding) / width):
        d1 = -(a.slope + b.slope) / 2
        square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), width)
    under = b.slope - a.slope + 2 * d2
    if not under:
        return math.nan
    least = b.length - width * (b.slope + d2 - d1) / under
    return least if math.isfinite(least) else math.nan  # large values overflow when squared
