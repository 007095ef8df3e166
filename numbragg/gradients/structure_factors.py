"""Derivatives of the image in the structure factors: a sparse matrix, and products without it (specs/50-gradients.md,
50.50 to 50.54).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack
from scipy.sparse.linalg import LinearOperator

from numbragg.errors import NumbraggError
from numbragg.gradients.complex_step import STEP
from numbragg.gradients.selection import indices_of, selected_numbers
from numbragg.kernels.forward import forward_kernel
from numbragg.kernels.structure_factor_gradient import NODES, structure_factor_gradient_kernel
from numbragg.lowering.lower import KernelParams, lower, panel_detectors
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import reflection_place, reflection_table
from numbragg.models.structure_factors import StructureFactors
from numbragg.simulation import Pixels, count_threads, prepare, run_batches, simulate

BLOCK_ENTRIES = 1 << 21
"""Most entries of the sparse matrix that one block of pixels is given room for; 16 bytes each."""

BLOCK_PIXELS = 4096
"""Most pixels of a block: blocks share the work of the threads."""

Reflections = Sequence[tuple[int, int, int]] | npt.NDArray[np.integer[Any]] | None
Vector = npt.NDArray[np.float64]


def structure_factor_jacobian(
    experiment: Experiment, reflections: Reflections = None, *, pixels: Pixels = None, threads: int | None = None
) -> csr_array[np.float64]:
    """Derivatives of the image in structure factors.

    Parameters
    ----------
    experiment
        What is simulated; its crystal has a table of structure factors.
    reflections
        Indices (h, k, l), one row each, all in the table; None takes the whole table in its own (C) order, column
        ``np.ravel_multi_index((h, k, l) - minimum, values.shape)``.
    pixels
        As of `numbragg.simulate`.
    threads
        Threads to use; the result does not depend on it, bit for bit.

    Returns
    -------
    csr_array
        Float64, shape (pixels, reflections): photons per electron. Rows are pixels in raster order, or in that of
        ``pixels``. The derivative in F of F^2 vanishes with F: a reflection of amplitude 0 has a column of zeros.

    Raises
    ------
    NumbraggError
        No table, one for each line of a spectrum, or a reflection outside of it.
    """
    return _Table.of(experiment, reflections, pixels, threads).matrix()


def structure_factor_operator(
    experiment: Experiment, reflections: Reflections = None, *, pixels: Pixels = None, threads: int | None = None
) -> LinearOperator:
    """`structure_factor_jacobian` as an operator that multiplies without being formed.

    J v is one pass of the kernel (of its complex128 instance with interpolation); J^T u goes through the pixels in
    blocks whose size does not depend on the threads. Memory is a few images and the table.
    """
    table = _Table.of(experiment, reflections, pixels, threads)
    shape = (len(table.numbers), table.columns)
    return LinearOperator(shape, matvec=table.times, rmatvec=table.transposed_times, dtype=np.float64)


class _Table(NamedTuple):
    """The table of an experiment, the places of it that are asked for, and the pixels."""

    experiment: Experiment
    factors: StructureFactors
    places: npt.NDArray[np.int64] | None  # None is all
    numbers: npt.NDArray[np.int32]  # slow * n_fast + fast
    threads: int | None

    @classmethod
    def of(cls, experiment: Experiment, reflections: Reflections, pixels: Pixels, threads: int | None) -> "_Table":
        factors = reflection_table(experiment)
        places = None if reflections is None else _places(experiment, factors, reflections)
        return cls(experiment, factors, places, selected_numbers(experiment, pixels), threads)

    @property
    def columns(self) -> int:
        return self.factors.values.size if self.places is None else len(self.places)

    def matrix(self) -> csr_array[np.float64]:
        blocks = [block if self.places is None else block[:, self.places] for block in self.blocks()]
        return vstack(blocks, format="csr") if blocks else csr_array((0, self.columns))

    def times(self, v: Vector) -> Vector:
        """J v."""
        values = np.zeros(self.factors.values.size)
        if self.places is None:
            values[:] = np.ravel(v)
        else:
            np.add.at(values, self.places, np.ravel(v))
        if self.experiment.crystal.interpolates:
            return self._along(values)
        params = lower(self.experiment)
        table = params.crystal.table.copy()
        table[0] = 0.0
        table[1:] = 2.0 * self.factors.values.ravel() * values
        # The photons are linear in F^2 once what is no Bragg scattering is gone.
        params = params._replace(
            crystal=params.crystal._replace(table=table),
            scaling=params.scaling._replace(initial=0.0, background=0.0),
        )
        job = prepare(self.experiment, params, indices_of(self.experiment, self.numbers))
        kernel = forward_kernel(params.shape, params.interpolate, params.running)
        detectors = panel_detectors(self.experiment.detector, params.detector)
        others = (params.beam, params.crystal, params.scaling, job.result)
        run_batches(kernel, job, [(detector, *others) for detector in detectors], self.threads)
        return np.asarray(job.result)

    def _along(self, values: Vector) -> Vector:
        """J v by one complex step along v."""
        largest = np.abs(values).max(initial=0.0)
        step = STEP * max(1.0, float(np.abs(self.factors.values).max())) / (largest or 1.0)
        moved = self.factors.values + 1j * step * values.reshape(self.factors.values.shape)
        crystal = dataclasses.replace(
            self.experiment.crystal, structure_factors=StructureFactors(self.factors.minimum, moved)
        )
        experiment = dataclasses.replace(self.experiment, crystal=crystal)
        image = simulate(experiment, pixels=indices_of(experiment, self.numbers), threads=self.threads)
        return np.asarray(image.imag / step)

    def transposed_times(self, u: Vector) -> Vector:
        """J^T u."""
        total = np.zeros(self.factors.values.size)
        start, weights = 0, np.ravel(u)
        for block in self.blocks():
            rows = weights[start : start + block.shape[0]]
            np.add.at(total, block.indices, block.data * np.repeat(rows, np.diff(block.indptr)))
            start += block.shape[0]
        return total if self.places is None else total[self.places]

    def blocks(self) -> Iterator[csr_array[np.float64]]:
        """Rows of the matrix of the whole table, in order."""
        params = lower(self.experiment)
        if params.running:
            yield self._column_by_column()
            return
        size = _block_size(params, self.factors.values.size)
        pieces = [self.numbers[start : start + size] for start in range(0, len(self.numbers), size)]
        workers = min(count_threads(self.threads), max(1, len(pieces)))

        def rows(piece: npt.NDArray[np.int32]) -> csr_array[np.float64]:
            return _rows(self.experiment, params, self.factors, piece)

        with ThreadPoolExecutor(workers) as pool:
            # As many blocks at a time as there are threads: `map` alone would hold all that are not yet consumed.
            for start in range(0, len(pieces), workers):
                yield from pool.map(rows, pieces[start : start + workers])

    def _column_by_column(self) -> csr_array[np.float64]:
        """The matrix where each term is multiplied by the factors of those after it (specs/40-compat.md, Q02)."""
        size = self.factors.values.size
        places = np.arange(size) if self.places is None else np.unique(self.places)
        everything = self._replace(places=None)
        columns = [csr_array(everything.times(np.eye(1, size, place).ravel())[:, None]) for place in places]
        data = np.concatenate([column.data for column in columns])
        row = np.concatenate([column.tocoo().row for column in columns])
        column = np.repeat(places, [part.nnz for part in columns])
        return csr_array((data, (row, column)), shape=(len(self.numbers), size))


def _places(experiment: Experiment, factors: StructureFactors, reflections: Any) -> npt.NDArray[np.int64]:
    indices = np.asarray(reflections)
    if indices.size == 0:
        return np.empty(0, np.int64)
    if indices.ndim != 2 or indices.shape[1] != 3 or indices.dtype.kind not in "iu":
        raise NumbraggError("reflections: rows of three whole numbers (h, k, l) are needed")
    offsets = [reflection_place(experiment, (int(h), int(k), int(l)))[1] for h, k, l in indices]
    return np.asarray(np.ravel_multi_index(tuple(np.array(offsets).T), factors.values.shape), np.int64)


def _entries(params: KernelParams, size: int) -> int:
    """Most reflections that a pixel can see."""
    evaluations = params.detector.layers * params.detector.oversample**2 * len(params.beam.wavelength)
    evaluations *= params.crystal.step_row.size * params.crystal.domains
    return min(size, evaluations * (NODES if params.interpolate else 1))


def _block_size(params: KernelParams, size: int) -> int:
    return int(np.clip(BLOCK_ENTRIES // max(1, _entries(params, size)), 1, BLOCK_PIXELS))


def _rows(
    experiment: Experiment, params: KernelParams, factors: StructureFactors, numbers: npt.NDArray[np.int32]
) -> csr_array[np.float64]:
    """Rows of a block of pixels."""
    size = factors.values.size
    # F itself, where the kernel of the image has F^2.
    table = np.zeros(max(1 + size, params.crystal.table.size))
    table[1 : 1 + size] = factors.values.ravel()
    crystal = params.crystal._replace(table=table)
    job = prepare(experiment, params, indices_of(experiment, numbers), tile=1)
    detectors = panel_detectors(experiment.detector, params.detector)
    kernel = structure_factor_gradient_kernel(params.shape, params.interpolate)
    block = csr_array((len(numbers), size))
    for panel, batches, _ in job.panels:
        active = len(batches.pixels)
        counts = np.zeros(active, np.int64)
        places = np.empty(active * _entries(params, size), np.int32)
        values = np.empty(len(places))
        kernel(batches, detectors[panel], params.beam, crystal, params.scaling, counts, places, values)
        every = np.zeros(len(numbers), np.int64)
        every[batches.targets] = counts
        ends = np.concatenate([[0], np.cumsum(every)])
        used = int(ends[-1])
        rows = csr_array((values[:used].copy(), places[:used].copy(), ends), shape=(len(numbers), size))
        rows.sort_indices()
        # Each pixel is on one panel: nothing is added up.
        block = block + rows if block.nnz else rows
    return block
