"""What is said of optimizers, tried out: experiments whose results are data, for tables and
plots."""

from tinygrad_opt.lab import experiments, theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.effective_rate import effective_rate
from tinygrad_opt.lab.limits import Limits, limits
from tinygrad_opt.lab.race import CONTESTANTS, Contestant, Result, race, tune

__all__ = [
    "CONTESTANTS", "Claim", "Contestant", "Experiment", "Finding", "Limits", "Result",
    "effective_rate", "experiments", "limits", "race", "theory", "tune",
]  # fmt: skip
