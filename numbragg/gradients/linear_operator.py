"""Products with the Jacobian, and functions for SciPy's optimisers (specs/50-gradients.md, 50.60 to 50.64)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import LinearOperator

from numbragg.errors import NumbraggError
from numbragg.gradients.choices import with_choices_made
from numbragg.gradients.jacobians import check_names, image_and_jacobian
from numbragg.gradients.selection import blocks_of, indices_of, selected_numbers
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import parameter_scale, read_parameter
from numbragg.simulation import Pixels, simulate

Array = npt.NDArray[np.float64]
Loss = Callable[[Array], tuple[float, npt.ArrayLike]]
"""From a flat image to its loss and the derivative of the loss in every pixel."""


def linear_operator(
    experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
) -> LinearOperator:
    """The Jacobian of an image as an operator J v, J^T u that is never formed.

    Parameters
    ----------
    experiment, names, pixels, threads
        As of `numbragg.jacobian`.

    Returns
    -------
    LinearOperator
        Float64, shape (pixels, names); rows are pixels in raster order, or in that of ``pixels``. Each product is one
        fused pass, block of pixels by block of pixels.

    Raises
    ------
    NumbraggError
        As of `numbragg.jacobian`.
    """
    names = _unique(experiment, names)
    numbers = selected_numbers(experiment, pixels)

    def times(v: Array) -> Array:
        product = np.zeros(len(numbers))
        for rows, _, slopes in _blocks(experiment, names, pixels, threads):
            product[rows] = np.ravel(v) @ slopes
        return product

    def transposed_times(u: Array) -> Array:
        total = np.zeros(len(names))
        for rows, _, slopes in _blocks(experiment, names, pixels, threads):
            total += slopes @ np.ravel(u)[rows]
        return total

    shape = (len(numbers), len(names))
    return LinearOperator(shape, matvec=times, rmatvec=transposed_times, dtype=np.float64)


def value_and_grad(
    experiment: Experiment, names: Sequence[str], loss: Loss, *, pixels: Pixels = None, threads: int | None = None
) -> Callable[[npt.ArrayLike], tuple[float, Array]]:
    """A scalar function of parameters with its gradient, as ``scipy.optimize.minimize(..., jac=True)`` takes it.

    Parameters
    ----------
    experiment
        Gives everything but the named parameters.
    names, pixels, threads
        As of `numbragg.jacobian`.
    loss
        ``loss(image) -> (value, derivative)``: image and derivative are flat, photons in the order of the pixels.

    Returns
    -------
    callable
        ``x -> (value, gradient)``; x and gradient have one entry for each name, in its unit. An image whose Jacobian
        fits into one block costs one fused pass, a larger one a pass of the kernel and a fused pass.

    Raises
    ------
    NumbraggError
        As of `numbragg.jacobian`; from the callable, values that make no experiment.
    """
    function = ImageFunction(experiment, names, pixels=pixels, threads=threads)

    def evaluate(x: npt.ArrayLike) -> tuple[float, Array]:
        at = function.experiment_at(x)
        if sum(1 for _ in blocks_of(function.numbers, len(function.names))) == 1:
            image, slopes = image_and_jacobian(at, function.names, pixels=pixels, threads=threads)
            value, derivative = loss(image.ravel())
            return value, slopes.reshape(len(function.names), -1) @ np.ravel(derivative)
        value, derivative = loss(simulate(at, pixels=pixels, threads=threads).ravel())
        return value, linear_operator(at, function.names, pixels=pixels, threads=threads).rmatvec(np.ravel(derivative))

    return evaluate


class ImageFunction:
    """The flat image as a function of a vector of parameters, with its Jacobian.

    Attributes
    ----------
    names : list of str
        Parameters, in the order of the vector.
    x0 : ndarray
        Their values in the experiment, float64, in their units.
    scale : ndarray
        Their natural scales (specs/50-gradients.md, 50.3), for ``x_scale`` of `scipy.optimize.least_squares`.
    numbers : ndarray
        Pixels, slow * n_fast + fast, in the order of the image.
    """

    def __init__(
        self, experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
    ) -> None:
        self.names = _unique(experiment, names)
        values = [read_parameter(experiment, name).value for name in self.names]
        for name, value in zip(self.names, values, strict=True):
            if value is None:
                raise NumbraggError(f"{name} has no value in this experiment")
        self.x0: Array = np.real(np.array(values)).astype(float)
        self.scale: Array = np.array([parameter_scale(experiment, name) for name in self.names])
        self.numbers = selected_numbers(experiment, pixels)
        self._experiment = with_choices_made(experiment)
        self._pixels, self._threads = pixels, threads

    def experiment_at(self, x: npt.ArrayLike) -> Experiment:
        """Make the experiment with other values, real or complex, of the parameters."""
        values = np.atleast_1d(x)
        if values.shape != (len(self.names),):
            raise NumbraggError(f"{len(self.names)} values are needed, one for each name, not {np.shape(x)}")
        return self._experiment.replace(dict(zip(self.names, values.tolist(), strict=True)))

    def __call__(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Flat image, photons: float64, complex128 when x is complex."""
        return np.asarray(simulate(self.experiment_at(x), pixels=self._pixels, threads=self._threads).ravel())

    def jacobian(self, x: npt.ArrayLike) -> Array:
        """Fused Jacobian, shape (pixels, names), as SciPy wants it."""
        at = self.experiment_at(x)
        slopes = image_and_jacobian(at, self.names, pixels=self._pixels, threads=self._threads)[1]
        return slopes.reshape(len(self.names), -1).T


def image_function(
    experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
) -> ImageFunction:
    """Make the flat image a function of parameters, for SciPy's optimisers.

    Complex vectors give complex images, so that SciPy's own complex step (``jac="cs"``) works. What the experiment
    leaves to be chosen (sub-pixels, interpolation) is chosen once, here.

    Parameters
    ----------
    experiment
        Gives everything but the named parameters.
    names, pixels, threads
        As of `numbragg.jacobian`.

    Raises
    ------
    NumbraggError
        As of `numbragg.jacobian`; a parameter without a value.

    Examples
    --------
    >>> import numbragg
    >>> crystal = numbragg.Crystal(cell=(100, 100, 100, 90, 90, 90), n_cells=(5, 5, 5), default_f=100.0)
    >>> image = numbragg.image_function(numbragg.Experiment(crystal=crystal), ["cell.a"], pixels=([512], [513]))
    >>> image(image.x0).shape, image.jacobian(image.x0).shape
    ((1,), (1, 1))
    """
    return ImageFunction(experiment, names, pixels=pixels, threads=threads)


def _unique(experiment: Experiment, names: Sequence[str]) -> list[str]:
    unique = check_names(experiment, names)
    if len(unique) != len(names):
        raise NumbraggError("names: a parameter is named twice")
    return unique


def _blocks(
    experiment: Experiment, names: list[str], pixels: Pixels, threads: int | None
) -> Iterator[tuple[slice, Array, Array]]:
    """Rows, image and derivatives, shape (names, rows), of one block of pixels after the other."""
    numbers = selected_numbers(experiment, pixels)
    for rows in blocks_of(numbers, len(names)):
        image, slopes = image_and_jacobian(
            experiment, names, pixels=indices_of(experiment, numbers[rows]), threads=threads
        )
        yield rows, image, slopes
