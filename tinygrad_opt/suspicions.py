"""What is legal and most often a mistake is warned of, with a code, a class and the cure.

    warnings.filterwarnings("ignore", category=tg.suspicions.SoftmaxTwice)   # or message="TGO-W02"

Python shows a warning once for each line of yours that causes it. Only what cannot be meant is
suspected: a warning that comes without cause teaches to look away.
"""

import math
import warnings


class Suspicion(UserWarning):
    """Any of them."""


class ForgottenZeroGrad(Suspicion):
    """TGO-W01: a step is taken from gradients added to those that the last one was taken from."""


class SoftmaxTwice(Suspicion):
    """TGO-W02: cross_entropy, which has a softmax in it, was given the result of one."""


class SortedData(Suspicion):
    """TGO-W03: the batches come in the order of the classes."""


def forgotten_zero_grad() -> None:
    _warn(
        ForgottenZeroGrad,
        "TGO-W01: these gradients were added to those of the last step: call optimizer.zero_grad() "
        "before backward(). Without it you train with momentum μ = 1: nothing ever slows down",
    )


def softmax_twice(classes: int) -> None:
    # At best the probabilities are 1 and 0s, and their softmax e / (e + C - 1) at the label.
    least = math.log(math.e + classes - 1) - 1
    _warn(
        SoftmaxTwice,
        "TGO-W02: cross_entropy takes raw scores, and these come from a softmax: leave that out. "
        f"With it, the loss cannot go below {least:.4g} for {classes} classes",
    )


def sorted_data(batches: int, classes: int) -> None:
    _warn(
        SortedData,
        f"TGO-W03: the first {batches} batches hold a single class each, of {classes} in all: the "
        "samples are sorted. Take shuffle=True, or the network unlearns one class on the next",
        depth=4,  # the line that calls fit
    )


def _warn(kind: type[Suspicion], text: str, depth: int = 3) -> None:
    warnings.warn(text, kind, stacklevel=depth + 1)
