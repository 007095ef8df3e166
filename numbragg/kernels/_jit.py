"""How every kernel is compiled, and the few scalar functions that LLVM must see as plain arithmetic.

Numba's wheels carry no vector maths library, so a call to ``sin`` or ``exp`` keeps a loop scalar. The polynomials here
are Chebyshev fits computed with 50 digits; ``tests/test_lattice.py`` holds them to their stated errors.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

TILE = 256
"""Most pixels in a batch: the scratch rows of one batch stay in the first-level cache."""


def _source_digest() -> str:
    digest = hashlib.blake2s(digest_size=4)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


SOURCES = _source_digest()
"""Changes with any file of this package. Numba's cache looks only at the file of the kernel itself."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a loop over batches: cached on disk, without the GIL, fused multiply-add as the only licence taken."""
    function.__qualname__ += f"_{SOURCES}"
    return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile scalar arithmetic that disappears into the loop that calls it."""
    return numba.njit(nogil=True, error_model="numpy", fastmath={"contract"}, forceinline=True)(function)


@inlined
def nearest(x):
    """Nearest whole number, halves down: nanoBragg.c's ``ceil(x - 0.5)``; the real part decides."""
    return np.ceil(x.real - 0.5)


@inlined
def sin_pi_over(x):
    """sin(pi x) / x for -0.5 <= x <= 0.5, relative error below 4e-16 before rounding."""
    u = x * x
    p = -2.113362735205297e-05
    p = p * u + 0.0004659870158043378
    p = p * u - 0.0073703643265304155
    p = p * u + 0.08214587881631043
    p = p * u - 0.599264528825224
    p = p * u + 2.5501640398618677
    p = p * u - 5.1677127800497855
    return p * u + 3.1415926535897927


@inlined
def sin_pi(x):
    """sin(pi x) for -0.5 <= x <= 0.5, relative error as of `sin_pi_over`."""
    return x * sin_pi_over(x)


@inlined
def cos_pi(x):
    """cos(pi x) for -0.5 <= x <= 0.5, absolute error below 1e-17 before rounding."""
    u = x * x
    p = 4.149564353942586e-06
    p = p * u - 0.00010456655338748738
    p = p * u + 0.0019295562724817132
    p = p * u - 0.025806888737002202
    p = p * u + 0.23533063012953284
    p = p * u - 1.335262768843447
    p = p * u + 4.058712126416497
    p = p * u - 4.934802200544676
    return p * u + 1.0


@intrinsic
def _bits_of(typingctx, value):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen


@intrinsic
def _float_of(typingctx, bits):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), codegen


@intrinsic
def bits_of_single(typingctx, value):
    """Bits of a single precision number, as int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), codegen


@intrinsic
def single_of_bits(typingctx, bits):
    """Single precision number of these bits, an int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), codegen


def exponential(x):
    """exp(x) for x <= 700, 0 to rounding below -700; relative error below 3e-16."""
    return np.exp(x)


ROUNDING_SHIFT = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the low bits
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10


@inlined
def _exponential_real(x):
    x = max(x, -700.0)
    shifted = x * LOG2_E + ROUNDING_SHIFT
    k = shifted - ROUNDING_SHIFT
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = 2.5110037605963777e-08
    p = p * r + 2.763263963904103e-07
    p = p * r + 2.755724091857897e-06
    p = p * r + 2.4801485482328494e-05
    p = p * r + 0.00019841269890047113
    p = p * r + 0.0013888888952314775
    p = p * r + 0.008333333333319601
    p = p * r + 0.0416666666664881
    p = p * r + 0.1666666666666668
    p = p * r + 0.5000000000000019
    p = p * r + 1.0
    p = p * r + 1.0
    # Adding k to the exponent field multiplies by 2**k.
    return _float_of(_bits_of(p) + (_bits_of(shifted) << 52))


@overload(exponential)
def _overload_exponential(x):
    if isinstance(x, types.Complex):
        return lambda x: np.exp(x)
    return lambda x: _exponential_real(x)


def scratch_rows(size, like):
    """Uninitialised array of the dtype of ``like``, on the stack of the kernel that calls it.

    LLVM knows that the stack aliases nothing that came in, which heap scratch does not tell it: without this the loop
    that looks up structure factors stays scalar (specs/decisions/0003-kernel-shape.md).
    """
    return np.empty(size, like.dtype)


@intrinsic(prefer_literal=True)
def _stack(typingctx, size, like):
    count = size.literal_value

    def codegen(context, builder, signature, arguments):
        element = context.get_data_type(like.dtype)
        memory = cgutils.alloca_once(builder, ir.ArrayType(element, count))
        memory.align = 64
        return builder.bitcast(memory, element.as_pointer())

    return types.CPointer(like.dtype)(size, like), codegen


@overload(scratch_rows, inline="always", prefer_literal=True)
def _overload_scratch_rows(size, like):
    return lambda size, like: numba.carray(_stack(size, like), size)


LINE = 8
"""Doubles in a line of the cache, and in the widest vector."""


@intrinsic
def address_of(typingctx, array):
    """Address of the first element.

    A store that is given an address counts no reference to the array. Counting is atomic: the processor would wait
    until all that it has written before is in memory.
    """

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


def _pointer(builder, address, element):
    return builder.inttoptr(address, element.as_pointer())


@intrinsic
def _put(typingctx, address, value):
    def codegen(context, builder, signature, arguments):
        builder.store(arguments[1], _pointer(builder, arguments[0], ir.DoubleType()), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.float64), codegen


@intrinsic
def _stream_line(typingctx, address, source):
    """Copy LINE doubles to the line of the cache at an address, past the caches."""

    def codegen(context, builder, signature, arguments):
        line = ir.VectorType(ir.DoubleType(), LINE)
        values = builder.load(_pointer(builder, arguments[1], line), align=8)
        written = builder.store(values, _pointer(builder, arguments[0], line), align=8 * LINE)
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@inlined
def stream(target, row, count):
    """Copy ``row[:count]`` to an address without reading the lines there into the caches first."""
    head = min(-(target >> 3) & (LINE - 1), count)
    for t in range(head):
        _put(target + 8 * t, row[t])
    whole = head + ((count - head) & -LINE)
    source = address_of(row)
    for t in range(head, whole, LINE):
        _stream_line(target + 8 * t, source + 8 * t)
    for t in range(whole, count):
        _put(target + 8 * t, row[t])


@intrinsic
def finish_writing(typingctx):
    """Let no other thread see older memory than this one has streamed."""

    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@inlined
def scatter_to(target, row, places, start, count):
    """Copy ``row[t]`` to ``places[start + t]``, in elements from an address."""
    for t in range(count):
        _put(target + 8 * places[start + t], row[t])
