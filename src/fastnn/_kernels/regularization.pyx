"""Dropout over typed memoryviews, its masks drawn from a NumPy generator.

A number takes 16 random bits, the quarter of a draw, that are compared with the first 16 of p; where they are equal,
one in 65,536, a further draw is compared with the rest of it. So p is honoured to 69 bits, for hardly more than 16.
"""
import sys

from cython cimport floating
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memchr

from fastnn._kernels.cpu cimport active
from fastnn._kernels.fastnn cimport fnn_real

cdef extern from "numpy/random/bitgen.h":  # NumPy's own declaration would import numpy.random with this module
    ctypedef struct bitgen_t:
        void *state
        uint64_t (*next_uint64)(void *) noexcept nogil
        double (*next_double)(void *) noexcept nogil

cdef bint LITTLE_ENDIAN = sys.byteorder == "little"

cdef enum:
    DRAWS = 1024  # drawn at a time
    CHUNK = 4096  # and the numbers that these serve
    EQUAL = 2  # in a mask: still to be decided


cdef inline void scaled(floating *y, const floating *x, const uint8_t *mask, double scale, Py_ssize_t n) noexcept nogil:
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    table.mask_scale(y, x, mask, scale, 0, n)


cdef inline double scale_of(double p) noexcept:
    return 1 / (1 - p) if p < 1 else 0


def dropout(floating[::1] y, uint8_t[::1] mask, const floating[::1] x, double p, rng):
    """Draw a mask, 1 with probability 1 - p and else 0; where y and x are given, write x / (1 - p), or 0, into y."""
    cdef Py_ssize_t n = mask.shape[0], start = 0, m, i
    cdef uint64_t draws[DRAWS]
    cdef uint16_t turned[CHUNK]
    cdef const uint16_t *bits = <uint16_t *>draws if LITTLE_ENDIAN else turned
    cdef uint16_t least = <uint16_t>min(p * 65536, 65535)
    cdef double rest = p * 65536 - least, scale = scale_of(p)
    cdef bint undecided = False
    cdef uint8_t *at
    cdef bitgen_t *source
    if (x is None) != (y is None):
        raise TypeError("y and x are given together, or neither")
    if x is not None and (x.shape[0] != n or y.shape[0] != n):
        raise ValueError(f"x and y have lengths {x.shape[0]} and {y.shape[0]}, expected {n} as mask has")
    if not n:
        return
    generator = rng.bit_generator
    source = <bitgen_t *>PyCapsule_GetPointer(generator.capsule, "BitGenerator")
    with generator.lock, nogil:
        while start < n:
            m = min(n - start, <Py_ssize_t>CHUNK)
            for i in range((m + 3) // 4):
                draws[i] = source.next_uint64(source.state)
            if not LITTLE_ENDIAN:  # the lowest bits come first
                for i in range(CHUNK):
                    turned[i] = <uint16_t>(draws[i // 4] >> 16 * (i % 4))
            undecided |= active[0].compare_bits(&mask[start], bits, least, m)
            if x is not None:
                scaled(&y[start], &x[start], &mask[start], scale, m)
            start += m
        start = 0
        while undecided:
            at = <uint8_t *>memchr(&mask[start], EQUAL, n - start)
            if at == NULL:
                break
            start = at - &mask[0]
            at[0] = source.next_double(source.state) >= rest
            if x is not None:
                scaled(&y[start], &x[start], at, scale, 1)


def dropout_backward(floating[::1] dx, const floating[::1] dy, const uint8_t[::1] mask, double p):
    """Write dy / (1 - p) where the mask is 1, else 0, into dx, which may be dy; a shorter mask repeats."""
    cdef Py_ssize_t n = dy.shape[0], period = mask.shape[0], start = 0
    cdef double scale = scale_of(p)
    if dx.shape[0] != n:
        raise ValueError(f"dx has length {dx.shape[0]}, expected {n} as dy has")
    if n and (not period or n % period):
        raise ValueError(f"mask has length {period}, expected a divisor of the {n} that dy has")
    with nogil:
        while start < n:
            scaled(&dx[start], &dy[start], &mask[0], scale, period)
            start += period
