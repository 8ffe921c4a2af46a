"""Errors in units in the last place."""

import numpy as np


def ulp_error(got, want, least=None):
    """Return |got - want| in units in the last place that a float of got's dtype has at `want`.

    `want` is in a wider dtype. Below 2^least a unit stays what it is there; by default that is where subnormal
    numbers begin. Equal infinities, what rounds to them, and NaN in both have no error; NaN in one is infinitely wrong.
    """
    info = np.finfo(got.dtype)
    want = np.asarray(want)
    with np.errstate(all="ignore"):
        exponent = np.frexp(want)[1] - 1
        unit = np.ldexp(np.ones_like(want), np.maximum(exponent, info.minexp if least is None else least) - info.nmant)
        error = np.abs(got.astype(want.dtype) - want) / unit
        same = (got == want.astype(got.dtype)) & ~np.isfinite(got) | np.isnan(got) & np.isnan(want)
    return np.where(same, 0, np.where(np.isnan(error), np.inf, error))
