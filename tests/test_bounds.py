"""Nothing behind an array is touched: arrays that end where their memory does, on every instruction set."""

import os
import subprocess
import sys

import pytest
from conftest import ISAS

pytestmark = pytest.mark.kernels
SCRIPT = """
import ctypes, mmap
import numpy as np
import fastnn
from fastnn._kernels import gemm

def last(*shape, dtype):
    "Return an array of random numbers that ends where a page does which nobody may touch."
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    size = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(begin + size), mmap.PAGESIZE, 0) == 0
    array = np.frombuffer(memory, dtype, values.size, size - values.nbytes).reshape(shape)
    array[...] = values
    return array

for dtype, kind in (np.float32, "float"), (np.float64, "double"):
    for n in 1, 2, 3, 5, 7, 11, 13, 21:
        def new(*shape):
            return last(*shape, dtype=dtype)

        for step in fastnn.skipgram_step, fastnn.cbow_step:
            step(new(4, n), new(4, n), [3, 3, 1], [0, 2, 3], [[1, 3], [3, 2]], lr=0.1)
        gemm.matmul[kind](new(5, n), new(5, 3), new(3, n))
        for f in fastnn.softmax, fastnn.log_softmax, fastnn.gelu:
            f(new(3, n), out=new(3, n))
        fastnn.mse_loss(new(3, n), new(3, n), grad_out=new(3, n))
        fastnn.adam_update(new(n), new(n), new(n), abs(new(n)), 1)
        fastnn.embedding_lookup_backward(new(3, n), [0, 4, 4], 5, add_to=new(5, n))
        y, cache = fastnn.layer_norm(new(3, n), new(n), new(n))
        fastnn.layer_norm_backward(new(3, n), cache)
        y, cache = fastnn.conv1d_forward(new(2, 3, n), new(4, 3, 1), new(4))
        fastnn.conv1d_backward(new(2, 4, n), cache)
"""


@pytest.mark.parametrize("isa", ISAS)
def test_nothing_behind_an_array_is_touched(isa):
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ | {"FASTNN_ISA": isa}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
