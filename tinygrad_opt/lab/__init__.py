"""What is said of optimizers, tried out: experiments whose results are data, for tables and
plots."""

from tinygrad_opt.lab.race import CONTESTANTS, Contestant, Result, race, tune

__all__ = ["CONTESTANTS", "Contestant", "Result", "race", "tune"]
