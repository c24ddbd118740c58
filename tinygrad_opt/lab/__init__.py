"""What is said of optimizers, tried out: experiments whose results are data, for tables and
plots."""

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.plateau import Plateau, plateau
from tinygrad_opt.lab.race import CONTESTANTS, Contestant, Result, race, tune

__all__ = [
    "CONTESTANTS", "Claim", "Contestant", "Experiment", "Finding", "Plateau", "Result", "plateau",
    "race", "theory", "tune",
]  # fmt: skip
