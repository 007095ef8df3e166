"""Pictures of a refinement, with matplotlib (``pip install numbragg[plot]``)."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.figures import require_matplotlib

if TYPE_CHECKING:
    from numbragg.refinement.result import RefinementResult

PHOTONS, RESIDUAL = "cividis", "PuOr"
LARGEST_SCORE = 5.0
"""Standard deviations at the ends of the residual's colours."""
LEAST_GAP = 1e-4
"""Loss above the best one below which the history is not drawn: rounding."""


def draw_refinement(result: "RefinementResult", path: str | os.PathLike[str] | None, *, boxes: int) -> Any:
    """Draw data, model and residual of the brightest boxes above, the history of loss and parameters below.

    Parameters
    ----------
    result
        What to draw.
    path
        A PNG file; None only returns the figure.
    boxes
        How many boxes, at least 1.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    NumbraggError
        matplotlib is missing, no box asked for, or the file cannot be written.
    """
    if boxes < 1:
        raise NumbraggError(f"plot: at least 1 box is needed, not {boxes}")
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.0, 10.0), dpi=100, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3.0, 2.0))
    _draw_boxes(parts[0], result, _brightest(result, boxes))
    _draw_history(parts[1], result)
    if path is not None:
        with atomic_write(path) as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})
    return figure


def _brightest(result: "RefinementResult", count: int) -> npt.NDArray[np.int64]:
    pixels = result.pixels
    sums = np.bincount(pixels.box, pixels.spots)
    return np.sort(np.argsort(-sums)[:count])


def _draw_boxes(figure: Any, result: "RefinementResult", chosen: npt.NDArray[np.int64]) -> None:
    pixels = result.pixels
    axes = figure.subplots(3, len(chosen), squeeze=False)
    score = (pixels.photons - pixels.spots - pixels.background) / np.sqrt(pixels.variance)
    drawn: Any = None
    for column, number in enumerate(chosen):
        inside = pixels.box == number
        data, model, residual = (
            _placed(pixels.slow[inside], pixels.fast[inside], values[inside])
            for values in (pixels.photons, pixels.spots + pixels.background, score)
        )
        low, high = float(np.nanmin(model)), float(np.nanmax([np.nanmax(model), np.nanpercentile(data, 99)]))
        for row, (values, colours, ends) in enumerate(
            [(data, PHOTONS, (low, high)), (model, PHOTONS, (low, high)),
             (residual, RESIDUAL, (-LARGEST_SCORE, LARGEST_SCORE))]
        ):  # fmt: skip
            panel = axes[row, column]
            # Colours go with the square root, as counting noise does.
            shown = values if row == 2 else np.sqrt(np.maximum(values - low, 0.0))
            limits = ends if row == 2 else (0.0, np.sqrt(max(high - low, 1e-9)))
            drawn = panel.imshow(shown, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
        image = "" if len(result.experiments) == 1 else f"image {int(pixels.image[inside][0])}, "
        if result.experiments[int(pixels.image[inside][0])].detector.has_panels:
            image += f"panel {int(pixels.panel[inside][0])}, "
        middle = int(np.median(pixels.slow[inside])), int(np.median(pixels.fast[inside]))
        axes[0, column].set_title(f"{image}slow {middle[0]}\nfast {middle[1]}, to {high:.0f}", fontsize=8)
    for row, label in enumerate(("data", "model", "residual")):
        axes[row, 0].set_ylabel(label)
    figure.colorbar(drawn, ax=axes[2, :], label="(data - model) / s.d.", shrink=0.9)
    figure.suptitle(f"brightest boxes, photons; chi2 / degrees of freedom {result.fit.reduced_chi2:.3f}", fontsize=11)


def _placed(
    slow: npt.NDArray[np.int64], fast: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Values of a box as an image; pixels that are not used are NaN."""
    image = np.full((int(np.ptp(slow)) + 1, int(np.ptp(fast)) + 1), np.nan)
    image[slow - slow.min(), fast - fast.min()] = values
    return image


def _draw_history(figure: Any, result: "RefinementResult") -> None:
    left, right = figure.subplots(1, 2)
    numbers = np.array([step.number for step in result.history])
    loss = np.array([step.loss for step in result.history])
    cycles = np.array([step.cycle for step in result.history])
    for cycle in np.unique(cycles):
        own = cycles == cycle
        left.semilogy(
            numbers[own], np.maximum(loss[own] - loss[own].min(), LEAST_GAP), marker=".", label=f"{cycle + 1}"
        )
    left.set_ylabel("loss above its least in the cycle")
    left.legend(title="cycle", fontsize=7)
    right.set_prop_cycle(color=_colours(len(result.parameters)))
    for name, value in result.parameters.items():
        course = np.array([step.values.get(name, np.nan) for step in result.history])
        right.plot(numbers, (course - value.value) / (value.sigma or 1.0), marker=".", label=name)
    right.set_yscale("symlog", linthresh=1.0)
    right.set_ylabel("distance from the refined value / s.u.")
    right.legend(fontsize=7, ncols=2)
    for axes in (left, right):
        axes.set_xlabel("iteration")
        axes.xaxis.get_major_locator().set_params(integer=True)


def _colours(count: int) -> list[Any]:
    """Colours of that many lines, no two alike."""
    from matplotlib import colormaps

    return [colormaps["turbo"](0.05 + 0.9 * number / max(1, count - 1)) for number in range(count)]
