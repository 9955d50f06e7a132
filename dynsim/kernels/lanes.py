"""Short vectors of numbers as scalars of Numba kernels: one name stands for LANES neighbouring columns.

With them the sum over copies stays in registers, and it is not left to the compiler's judgement whether a loop becomes
SIMD or how wide. `+ - * / **`, `abs` and `math.sqrt` work on them, so the bodies in `scalar` do; the compiler cuts them
into the registers that the machine has. Indices count numbers from the start of a flat array and do not wrap around.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

instruction: Any = intrinsic  # called with fewer arguments than it is written with, which type checkers do not know
FAST = ("reassoc", "contract", "arcp", "afn", "nsz")  # no nnan, no ninf: NaN and Inf must stay visible
BYTES = 128  # of a vector: two AVX-512 registers, so that what is spread over the lanes is loaded once for both


class Lanes(types.Type):
    """The type of `BYTES` bytes of `dtype`."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.number = BYTES * 8 // dtype.bitwidth
        super().__init__(f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, ir.VectorType(manager.lookup(lanes.dtype).get_value_type(), lanes.number))


def _address(context, builder, sig, args):
    """Of array args[0] at args[1]."""
    return builder.gep(context.make_array(sig.args[0])(context, builder, args[0]).data, [args[1]])


def _spread(builder, vector, number):
    """One number to all lanes of a vector type."""
    nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    lane = builder.insert_element(nothing, number, first)
    return builder.shuffle_vector(lane, nothing, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


@instruction
def widest(typing):
    """Let LLVM take the widest registers for the loops of the function that calls this: on many processors with
    AVX-512 it holds itself to half of them, which is quicker for loops that mostly move unaligned numbers."""

    def code(context, builder, sig, args):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite's own `add` knows few names
        return context.get_dummy_value()

    return types.none(), code


def aligned(size, like):
    """Zeros in the type of an array, from a line of the cache on: a vector across two lines takes twice as long."""
    numbers = np.zeros(size + BYTES // like.itemsize, like.dtype)
    start = -numbers.ctypes.data % BYTES // like.itemsize
    return numbers[start : start + size]


@instruction
def load(typing, array, index):
    """Lanes from array[index] on."""

    def code(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        pointer = builder.bitcast(_address(context, builder, sig, args), vector.as_pointer())
        return builder.load(pointer, align=context.get_abi_sizeof(vector.element))

    return Lanes(array.dtype)(array, types.intp), code


@instruction
def load_doubles(typing, array, index):
    """Lanes of float64 from array[index] on, whose numbers may be narrower."""
    lanes = Lanes(types.float64)

    def code(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        narrow = ir.VectorType(context.get_value_type(array.dtype), vector.count)
        pointer = builder.bitcast(_address(context, builder, sig, args), narrow.as_pointer())
        numbers = builder.load(pointer, align=context.get_abi_sizeof(narrow.element))
        return numbers if narrow == vector else builder.fpext(numbers, vector)

    return lanes(array, types.intp), code


@instruction
def load_every(typing, array, index, step):
    """Lanes array[index], array[index + step], ..."""

    def code(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        pointer, lanes = _address(context, builder, sig, args), ir.Constant(vector, ir.Undefined)
        for lane in range(vector.count):
            lanes = builder.insert_element(lanes, builder.load(pointer), ir.Constant(ir.IntType(32), lane))
            pointer = builder.gep(pointer, [args[2]])
        return lanes

    return Lanes(array.dtype)(array, types.intp, types.intp), code


@instruction
def store(typing, array, index, lanes):
    """array[index], array[index + 1], ... = lanes."""

    def code(context, builder, sig, args):
        vector = args[2].type
        pointer = builder.bitcast(_address(context, builder, sig, args), vector.as_pointer())
        builder.store(args[2], pointer, align=context.get_abi_sizeof(vector.element))
        return context.get_dummy_value()

    return types.none(array, types.intp, lanes), code


@instruction
def spread(typing, number):
    """The number in all lanes."""

    def code(context, builder, sig, args):
        return _spread(builder, context.get_value_type(sig.return_type), args[0])

    return Lanes(number)(number), code


@instruction
def spread_at(typing, array, index):
    """array[index] in all lanes."""

    def code(context, builder, sig, args):
        number = builder.load(_address(context, builder, sig, args))
        return _spread(builder, context.get_value_type(sig.return_type), number)

    return Lanes(array.dtype)(array, types.intp), code


@instruction
def all_above(typing, x, y):
    """Whether x > y in every lane, which NaN is not; the compiler takes it for likely."""

    def code(context, builder, sig, args):
        bit, bits = ir.IntType(1), ir.IntType(x.number)
        not_above = builder.bitcast(builder.fcmp_unordered("<=", *args), bits)
        expect = cgutils.get_or_insert_function(builder.module, ir.FunctionType(bit, [bit, bit]), "llvm.expect.i1")
        return builder.call(expect, [builder.icmp_unsigned("==", not_above, bits(0)), bit(1)])

    return types.boolean(x, y), code


@instruction
def chosen(typing, x, y, above, otherwise):
    """In each lane `above` where x > y, which NaN is not, else `otherwise`."""

    def code(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args[:2]), *args[2:])

    return x(x, x, x, x), code


@instruction
def multiply_add(typing, x, y, z):
    """x y + z, whatever else x y is used for."""
    return x(x, x, x), lambda context, builder, sig, args: _calling("llvm.fma")(builder, *args)


@instruction
def total(typing, lanes):
    """The sum of all lanes, by halves."""

    def code(context, builder, sig, args):
        vector = args[0].type
        name = f"llvm.vector.reduce.fadd.v{vector.count}{vector.element.intrinsic_name}"
        kind = ir.FunctionType(vector.element, [vector.element, vector])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(vector.element, -0.0), args[0]], fastmath=FAST)

    return lanes.dtype(lanes), code


def _operation(symbol, arguments, emit):
    """Let `symbol` take lanes; emit(builder, *values) gives the instruction."""

    @type_callable(symbol)
    def typing(context):
        if arguments == 1:
            return lambda x: x if isinstance(x, Lanes) else None
        return lambda x, y: x if isinstance(x, Lanes) and x == y else None

    @lower_builtin(symbol, *[Lanes] * arguments)
    def code(context, builder, sig, args):
        return emit(builder, *args)


def _calling(name):
    def emit(builder, *args):
        vector = args[0].type
        kind = ir.FunctionType(vector, [vector] * len(args))
        full_name = f"{name}.v{vector.count}{vector.element.intrinsic_name}"
        function = cgutils.get_or_insert_function(builder.module, kind, full_name)
        return builder.call(function, args, fastmath=FAST)

    return emit


for _symbols, _arguments, _emit in (
    ((operator.add, operator.iadd), 2, ir.IRBuilder.fadd),
    ((operator.sub,), 2, ir.IRBuilder.fsub),
    ((operator.mul,), 2, ir.IRBuilder.fmul),
    ((operator.truediv,), 2, ir.IRBuilder.fdiv),
    ((operator.pow,), 2, _calling("llvm.pow")),
    ((abs,), 1, _calling("llvm.fabs")),
    ((math.sqrt,), 1, _calling("llvm.sqrt")),
):
    for _symbol in _symbols:
        _operation(_symbol, _arguments, _emit)
