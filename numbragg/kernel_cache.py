"""Compiled kernels on disk: where they are kept, and how to make them all (specs/60-performance.md, 60.45)."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from numbragg.gradients.complex_step import complex_step_jacobian
from numbragg.gradients.fused import fused_jacobian
from numbragg.gradients.structure_factors import structure_factor_jacobian
from numbragg.kernels.forward import forward_kernel
from numbragg.kernels.params import SQUARE
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment
from numbragg.models.structure_factors import StructureFactors
from numbragg.noise import poisson_noise
from numbragg.simulation import simulate

Kinds = Literal["images", "all"]
SHAPES = ("square", "round", "gauss", "tophat")


def cache_folder() -> Path:
    """Folder of the compiled forward kernels.

    It is ``__pycache__`` beside the sources where that can be written, else one of the user's own, and
    ``NUMBA_CACHE_DIR`` overrides both.
    """
    return Path(forward_kernel(SQUARE, False, False)._cache.cache_path)


def cached_kernels() -> tuple[int, int]:
    """Number of compiled kernels of this version in the cache, and their bytes."""
    from numbragg.kernels._jit import SOURCES

    files = list(cache_folder().glob(f"*_{SOURCES}-*.nbc"))
    return len(files), sum(file.stat().st_size for file in files)


def compile_kernels(kinds: Kinds = "images") -> Iterator[str]:
    """Compile what is not in the cache yet, by using it once; yield in a few words what is next.

    Parameters
    ----------
    kinds
        "images" for everything that images and their noise need, "all" for derivatives as well.
    """
    assert kinds in get_args(Kinds)
    for shape, interpolate in itertools.product(SHAPES, (False, True)):
        experiment = _smallest(shape, interpolate)
        table = "interpolated" if interpolate else "nearest"
        for precision in ("double", "mixed"):
            yield f"image, {shape}, {table}, {precision}"
            simulate(experiment, threads=1, precision=precision)
        if kinds == "all":
            yield f"fused derivatives, {shape}, {table}"
            fused_jacobian(experiment, ["cell.a"], threads=1)
            yield f"complex step, {shape}, {table}"
            complex_step_jacobian(experiment, ["cell.a"], threads=1)
            yield f"derivatives by amplitudes, {shape}, {table}"
            structure_factor_jacobian(experiment, threads=1)
    yield "noise"
    poisson_noise(np.ones((2, 2)), seed=1, threads=1)


def _smallest(shape: Any, interpolate: bool) -> Experiment:
    table = StructureFactors((-2, -2, -2), np.ones((5, 5, 5)))
    cell = (50.0, 50.0, 50.0, 90.0, 90.0, 90.0)
    crystal = Crystal(cell=cell, shape=shape, interpolate=interpolate, structure_factors=table, default_f=1.0)
    return Experiment(crystal=crystal, detector=Detector(n_fast=2, n_slow=2), oversample=1)
