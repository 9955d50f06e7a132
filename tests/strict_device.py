"""A device that exists in tests only: arrays as strict as a GPU's, on which the whole engine must run.

A CuPy array takes part in NumPy's functions by their protocols (NEP 13 and 18), in those that CuPy has and with the
parameters that it knows (`cupy_offers`), and in nothing else: it is never turned into a host array on the quiet, and
never meets one. `DeviceArray` is as strict. The functions of this module are the kernels of the device: those of the
reference on what its arrays hold, but for images and the medium, which are code for every device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from dynsim.kernels import images, medium, reference
from dynsim.kernels.host_copies import there
from tests.cupy_offers import MANY

host = reference
KNOWN = json.loads(Path(__file__).with_name("cupy_14.json").read_text())
PROPERTIES = ("shape", "ndim", "size", "dtype", "nbytes", "itemsize")
FROM_HOST = ("array", "asarray")  # by which CuPy takes arrays of the host
COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")


class DeviceArray(NDArrayOperatorsMixin):
    """An array that only functions of the device can touch."""

    __slots__ = ("held",)
    __hash__ = None

    def __init__(self, held):
        self.held = held

    def __array__(self, *_, **__):
        raise TypeError("an array of the device is not turned into one of the host on the quiet")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if method != "__call__" or ufunc.__name__ not in KNOWN["ufuncs"] or options.keys() - {"casting", "dtype"}:
            raise TypeError(f"no {ufunc.__name__}.{method} with {sorted(options)} on the device")
        if ufunc.__name__ in COMPARISONS:  # of a number, which NumPy makes an array first
            inputs = [a.item() if isinstance(a, np.ndarray) and a.ndim == 0 else a for a in inputs]
        given = [within(a) for a in inputs]
        if out is None:
            return lifted(ufunc(*given, **options))
        ufunc(*given, out=tuple(within(a) for a in out), **options)
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function, types, arguments, options):
        name = ".".join([*function.__module__.split(".")[1:], function.__name__])
        _refuse_unknown(name, KNOWN["functions"].get(name), arguments, options)
        if name in FROM_HOST:
            first, *arguments = arguments
            return lifted(np.array(getattr(first, "held", first), *arguments, **options))
        return lifted(function(*within(arguments), **within(options)))

    def __getattr__(self, name):
        if name in PROPERTIES:
            return getattr(self.held, name)
        known = KNOWN["methods"].get(name)
        if known is None:
            raise AttributeError(f"an array of the device has no {name}")

        def method(*arguments, **options):
            _refuse_unknown(name, known, arguments, options)
            return lifted(getattr(self.held, name)(*within(arguments), **within(options)))

        return method

    def __getitem__(self, where):
        return lifted(self.held[within(where)])

    def __setitem__(self, where, value):
        self.held[within(where)] = within(value)

    def __len__(self):
        return len(self.held)

    def __iter__(self):
        return map(lifted, self.held)

    def __float__(self):
        return float(self.held.item())

    def __int__(self):
        return int(self.held.item())

    def __bool__(self):
        return bool(self.held.item())

    def item(self, *where):
        return self.held.item(*where)

    def tolist(self):
        return self.held.tolist()

    @property
    def T(self):
        return DeviceArray(self.held.T)


def _refuse_unknown(name, known, arguments, options):
    if known is None:
        raise TypeError(f"CuPy has no {name}")
    names = known.split()
    if MANY not in names and (len(arguments) > len(names) or options.keys() - set(names)):
        raise TypeError(f"CuPy's {name} takes {known}, not {len(arguments)} arguments and {sorted(options)}")


def within(given):
    """What device arrays hold, in whatever they stand; raises TypeError for an array of the host."""
    if isinstance(given, DeviceArray):
        return given.held
    if isinstance(given, np.ndarray):
        raise TypeError(f"an array of the host of shape {given.shape} meets one of the device")
    if isinstance(given, tuple | list):
        return type(given)(within(a) for a in given)
    if isinstance(given, dict):
        return {k: within(a) for k, a in given.items()}
    return given


def lifted(found):
    """Results on the device, numbers too: a sum is an array there."""
    if isinstance(found, np.ndarray | np.generic):
        return DeviceArray(np.asarray(found))
    if isinstance(found, tuple | list):
        return type(found)(map(lifted, found))
    return found


def to_device(arrays):
    return [a if isinstance(a, DeviceArray) else DeviceArray(np.array(a)) for a in arrays]


def to_host(arrays):
    return [a.held.copy() if isinstance(a, DeviceArray) else np.asarray(a) for a in arrays]


def to_host_later(arrays):
    return there(to_host(arrays))


def thread_count():
    return 1


def _on_device(function):
    return lambda *arguments, **options: lifted(function(*within(arguments), **within(options)))


for _name, _function in vars(reference).items():
    if callable(_function) and not _name.startswith("_") and not hasattr(sys.modules[__name__], _name):
        shared = _function.__module__ in (images.__name__, medium.__name__)
        globals()[_name] = _function if shared else _on_device(_function)
