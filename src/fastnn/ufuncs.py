"""The activations with parameters as NumPy ufuncs: parameters are operands, arrays that broadcast or numbers.

`fastnn.leaky_relu` and its like are functions over these that add names and defaults. A ufunc has neither for its
inputs, and is what `reduce`, `at` and lazy arrays want.
"""

from fastnn._kernels.activations import ufunc as _ufunc

_PARAMETERS = {"leaky_relu": "negative_slope", "elu": "alpha", "hardtanh": "min_val, max_val"}

for _name, _parameters in _PARAMETERS.items():
    for _full, _inputs in (_name, "x"), (f"{_name}_derivative", "x"), (f"{_name}_backward", "dy, x"):
        globals()[_full] = _ufunc(_full, "fastnn.ufuncs", f"{_full}({_inputs}, {_parameters}): see `fastnn.{_full}`.")
