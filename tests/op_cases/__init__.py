"""The table of samples: every op of the design, each at many shapes, axes, dtypes and forms."""

from op_cases import elementwise, linalg, loss, reduce, shape
from op_cases.sample import EVERY, SAMPLES, Sample

__all__ = ["EVERY", "SAMPLES", "Sample", "elementwise", "linalg", "loss", "reduce", "shape"]
