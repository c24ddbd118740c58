"""Checks of the optimizers, each a function of the class to be checked: so that the very checks
that the right class passes can be asked whether they find a wrong one."""

from optim_cases import effects, formulas, invariances, parity, statements, wholes
from optim_cases.problems import CHECKS

__all__ = ["CHECKS", "effects", "formulas", "invariances", "parity", "statements", "wholes"]
