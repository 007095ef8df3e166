"""The loop over pixels is packed arithmetic in every kind of kernel (specs/60-performance.md).

The machine code is read as text: the loop is found by its table lookups, which are gathers when it is vectorised.
"""

import math
import re
import warnings

import llvmlite.binding
import numba
import numpy as np
import pytest
from conftest import small_experiment
from naive import SHAPES

from numbragg.gradients.fused import _derivative, _directions
from numbragg.kernels.forward import forward_kernel
from numbragg.kernels.jacobian import jacobian_kernel
from numbragg.lowering.batches import make_batches
from numbragg.lowering.lower import lower
from numbragg.lowering.mixed import lower_mixed

FEWEST_PACKED = {"square": 48, "round": 28, "gauss": 18, "tophat": 9}
"""Packed multiply-adds of one evaluation: about what the shape's polynomials alone need, so that no part is scalar."""

FEWEST_SINGLE = {"square": 24, "round": 14, "gauss": 14, "tophat": 8}
"""The same in single precision, where polynomials are shorter."""

INDEX_FMA = 9
"""Multiply-adds of three indices, in a loop of their own."""

FEWEST_OF_FOUR = 15
"""Multiply-adds of four neighbours along l, for 4 x 4 rows of them; the first of all is a product."""

FEWEST_FOR_SLOPES = 13
"""Packed multiply-adds that take the slopes to the sums for strain and cells."""

GATHERS = {False: 1, True: 64}
"""Table lookups of one evaluation."""

pytestmark = pytest.mark.skipif(
    not llvmlite.binding.get_host_cpu_features().get("avx2"), reason="the CPU has no AVX2, so there is no gather"
)


def blocks(assembly):
    """Straight runs of instructions, from label or jump to the next."""
    run = []
    for line in assembly.splitlines():
        instruction = line.split("#")[0].strip()
        if instruction.endswith(":") or re.match(r"j[a-z]+\s", instruction):
            if run:
                yield run
            run = []
        elif instruction and not instruction.startswith("."):
            run.append(instruction)
    if run:
        yield run


def vector_loops(assembly):
    """Runs that look up a table with packed instructions, as counts of (gathers, packed FMA, scalar FMA, calls)."""
    for run in blocks(assembly):
        gathers = sum(1 for text in run if re.match(r"vp?gather\w+\s.*%[yz]mm", text))
        if gathers:
            packed = sum(1 for text in run if re.match(r"vfn?m(add|sub)\d+pd\s.*%[yz]mm", text))
            single = sum(1 for text in run if re.match(r"vfn?m(add|sub)\d+sd\s", text))
            calls = sum(1 for text in run if text.startswith("call"))
            yield gathers, packed, single, calls


def is_vectorised(assembly, gathers, packed):
    """Whether one loop does all lookups and enough arithmetic packed, and nothing scalar."""
    return any(
        found >= gathers and fma >= packed and single == 0 and calls == 0
        for found, fma, single, calls in vector_loops(assembly)
    )


def single_loops(assembly):
    """Runs with packed multiply-adds of single precision, as counts of (those, packed places, scalar FMA, calls)."""
    for run in blocks(assembly):
        packed = sum(1 for text in run if re.match(r"vfn?m(add|sub)\d+ps\s.*%[xyz]mm", text))
        if packed:
            single = sum(1 for text in run if re.match(r"vfn?m(add|sub)\d+ss\s", text))
            places = sum(1 for text in run if re.match(r"vpmulld\s.*%[yz]mm", text))
            calls = sum(1 for text in run if text.startswith("call"))
            yield packed, places, single, calls


def assembly_of(function, *arguments):
    """Machine code for the types of the arguments; compiled anew where it came from the disk without its text."""
    hits = getattr(function, "stats", None)
    if not function.signatures or (hits and sum(hits.cache_hits.values())):
        options = {key: value for key, value in function.targetoptions.items() if key != "nopython"}
        function = numba.njit(**options)(function.py_func)
        function.compile(tuple(numba.typeof(argument) for argument in arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (text,) = {function.inspect_asm(signature) for signature in function.signatures[:1]}
    return text


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_kernel(shape, interpolate):
    experiment = small_experiment(crystal={"shape": shape, "interpolate": interpolate})
    params = lower(experiment)
    active = experiment.active_pixels()
    text = assembly_of(
        forward_kernel(params.shape, params.interpolate, params.running),
        0,
        1,
        make_batches(experiment, params, active, active),
        params.detector,
        params.beam,
        params.crystal,
        params.scaling,
        np.zeros(len(active)),
    )
    assert is_vectorised(text, GATHERS[interpolate], FEWEST_PACKED[shape]), list(vector_loops(text))


def mixed_assembly(shape, interpolate):
    experiment = small_experiment(crystal={"shape": shape, "interpolate": interpolate})
    double = lower(experiment)
    active = experiment.active_pixels()
    batches = make_batches(experiment, double, active, active)
    params = lower_mixed(double)
    return assembly_of(
        forward_kernel(params.shape, params.interpolate, params.running, params.mixed),
        0,
        1,
        batches,
        params.detector,
        params.beam,
        params.crystal,
        params.scaling,
        np.zeros(len(active)),
    )


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_mixed_kernel(shape, interpolate):
    """Lattice factors in packed single precision; indices packed in double; interpolation four numbers at a time."""
    text = mixed_assembly(shape, interpolate)
    loops = list(single_loops(text))
    assert any(
        fma >= FEWEST_SINGLE[shape] and places >= 2 and single == calls == 0 for fma, places, single, calls in loops
    ), loops
    assert any(
        sum(bool(re.match(r"vfn?madd\d+pd\s.*%[yz]mm", line)) for line in run) == INDEX_FMA
        and not any(line.startswith("call") for line in run)
        for run in blocks(text)
    )
    if interpolate:
        rows = [sum(bool(re.match(r"vf\w+ps\s.*%xmm", line)) for line in run) for run in blocks(text)]
        assert max(rows) >= FEWEST_OF_FOUR, rows
    else:
        assert any(gathers and calls == 0 for gathers, _, _, calls in vector_loops(text))


@pytest.mark.parametrize("shape", SHAPES)
def test_fused_derivatives(shape):
    experiment = small_experiment(crystal={"shape": shape})
    params = lower(experiment)
    active = experiment.active_pixels()
    directions = _directions(params, {"cell.a": _derivative(experiment, params, "cell.a")}, ["cell.a"], panel=0)
    text = assembly_of(
        jacobian_kernel(params.shape, params.interpolate),
        0,
        1,
        make_batches(experiment, params, active, active),
        params.detector,
        params.beam,
        params.crystal,
        params.scaling,
        directions,
        np.zeros(len(active)),
        np.zeros(len(active)),
    )
    packed = FEWEST_PACKED[shape] + FEWEST_FOR_SLOPES
    assert is_vectorised(text, GATHERS[False], packed), list(vector_loops(text))


class TestCheckCanFail:
    """What the check must not let through."""

    @staticmethod
    def assembly(body):
        table, x, result = np.ones(100), np.ones(64), np.zeros(64)
        function = numba.njit(error_model="numpy", fastmath={"contract"})(body)
        return assembly_of(function, table, x, result)

    def test_library_function_keeps_a_loop_scalar(self):
        def body(table, x, result):
            for t in range(x.size):
                result[t] += table[np.uint64(t)] * math.sin(x[t])

        assert not is_vectorised(self.assembly(body), gathers=0, packed=0)

    def test_running_sum_keeps_a_loop_scalar(self):
        def body(table, x, result):
            total = 0.0
            for t in range(x.size):
                total = total * table[np.uint64(np.int32(x[t]))] + x[t]
            result[0] = total

        assert not is_vectorised(self.assembly(body), gathers=1, packed=1)

    @pytest.mark.parametrize(("gathers", "packed"), [(2, 3), (1, 9)])
    def test_counts_are_compared(self, gathers, packed):
        loop = (
            ".L1:\n"
            + "\tvfmadd213pd\t%zmm1, %zmm2, %zmm3\n" * 8
            + "\tvgatherqpd\t(%r11,%zmm1,8), %zmm2 {%k1}\n\tjne\t.L1\n"
        )
        assert is_vectorised(loop, 1, 8)
        assert not is_vectorised(loop, gathers, packed)

    @pytest.mark.parametrize("intruder", ["callq\t*%rax", "vfmadd213sd\t%xmm1, %xmm2, %xmm3"])
    def test_scalar_intruder(self, intruder):
        packed, lookup = "vfmadd213pd\t%ymm1, %ymm2, %ymm3", "vgatherqpd\t%ymm4, (%r11,%ymm1,8), %ymm2"
        loop = "\n\t".join([".L1:", packed, "{}", lookup, "jne\t.L1"])
        assert is_vectorised(loop.format("nop"), 1, 1)
        assert not is_vectorised(loop.format(intruder), 1, 1)
