"""From the images that a user gives to photons that can be refined against (specs/55-refinement.md, 55.20, 55.21)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models.experiment import Experiment
from numbragg.models.panel import as_rows
from numbragg.refinement.observations import ImagePixels, Observations, gather
from numbragg.refinement.shoeboxes import Background, Shoeboxes, find_shoeboxes

Image = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

COLUMNS = {"plane": 3, "constant": 1}
"""Numbers that the background of a box has."""
PIXELS_PER_COLUMN = 4
"""A box with fewer used pixels than this for each number of its background is left out."""


class Readout(NamedTuple):
    """How photons became counts: ADU = photons * gain + offset, with noise; overloads in ADU."""

    gain: float
    offset: float
    sigma: float
    overload: float | None

    @property
    def photons(self) -> float:
        """Standard deviation of the readout noise, photons."""
        return self.sigma / self.gain

    @property
    def saturation(self) -> float | None:
        """Photons from which on a pixel is overloaded."""
        return None if self.overload is None else (self.overload - self.offset) / self.gain


def make_readout(gain: float, offset: float, sigma: float, overload: float | None) -> Readout:
    """Check what the user says of the detector's electronics."""
    if not (np.isfinite(gain) and gain > 0.0):
        raise NumbraggError(f"gain must be above 0 (ADU a photon), not {gain:g}")
    if not np.isfinite(offset):
        raise NumbraggError(f"adc_offset must be a number (ADU), not {offset:g}")
    if not (np.isfinite(sigma) and sigma >= 0.0):
        raise NumbraggError(f"readout_sigma must be a number of at least 0 (ADU), not {sigma:g}")
    return Readout(float(gain), float(offset), float(sigma), None if overload is None else float(overload))


def to_photons(experiment: Experiment, image: Any, readout: Readout, label: str) -> Image:
    """Photons of an image of counts, float64, shape (rows, fast) with the rows of all panels."""
    values = np.asarray(image)
    if values.dtype.kind not in "biuf":
        raise NumbraggError(f"{label} must hold real numbers, not {values.dtype}")
    if values.shape != experiment.detector.shape:
        axes = "(panel, slow, fast)" if experiment.detector.has_panels else "(slow, fast)"
        raise NumbraggError(
            f"{label} has shape {values.shape}, the detector of the experiment {experiment.detector.shape} {axes}"
        )
    return (as_rows(values).astype(np.float64) - readout.offset) / readout.gain


def check_counts(experiment: Experiment, photons: Image, used: Mask, label: str) -> None:
    """Refuse counts that no Poisson deviate can be.

    Raises
    ------
    NumbraggError
        Names the first.
    """
    bad = used & (photons < 0.0)
    if bad.any():
        row, fast = np.argwhere(bad)[0]
        panel, slow = divmod(int(row), experiment.detector.n_slow)
        of_panel = f"panel {panel} " if experiment.detector.has_panels else ""
        raise NumbraggError(
            f"{label}: {int(bad.sum())} pixels hold negative counts, the first at {of_panel}slow {slow} fast {fast} "
            f"({photons[row, fast]:g} photons): a Poisson likelihood has none; mask them, give adc_offset, or take "
            "the gaussian likelihood"
        )


def without_background(experiment: Experiment, background: Background) -> Experiment:
    """What of an experiment is refined: what it has of a background only where no other is fitted or given."""
    return experiment if background is None else replace(experiment, water_size=0.0, background=())


def cut_boxes(
    experiments: Sequence[Experiment],
    photons: Sequence[Image],
    masks: Sequence[Mask],
    background: Background,
    readout: Readout,
) -> list[Shoeboxes]:
    """Boxes around what the experiments predict."""
    return [
        find_shoeboxes(
            experiment,
            image.reshape(experiment.detector.shape),
            mask=mask.reshape(experiment.detector.shape),
            background=background,
            readout_sigma=readout.photons,
            overload=readout.saturation,
        )
        for experiment, image, mask in zip(experiments, photons, masks, strict=True)
    ]


def check_boxes(boxes: Sequence[Any], photons: Sequence[Image]) -> list[Shoeboxes]:
    """Refuse what are no boxes of these images.

    Raises
    ------
    NumbraggError
        Something else than `Shoeboxes`, none, or pixels off the image.
    """
    for own, image in zip(boxes, photons, strict=True):
        if not isinstance(own, Shoeboxes) or len(own.box) == 0:
            raise NumbraggError("shoeboxes: boxes with pixels are needed, as numbragg.refinement.shoeboxes finds them")
        if (
            min(own.slow.min(), own.fast.min()) < 0
            or own.slow.max() >= image.shape[0]
            or own.fast.max() >= image.shape[1]
        ):
            raise NumbraggError(f"shoeboxes: not all pixels lie on the image of shape {image.shape} (slow, fast)")
    return list(boxes)


def observe(boxes: Sequence[Shoeboxes], photons: Sequence[Image], background: Background) -> Observations:
    """Used pixels of the boxes of all images.

    Raises
    ------
    NumbraggError
        No pixel is left.
    """
    columns = COLUMNS.get(background, 0) if isinstance(background, str) else 0
    images = [
        _used(
            shoeboxes,
            image,
            max(1, PIXELS_PER_COLUMN * columns),
            has_background=background is not None,
            fitted=columns > 0,
        )
        for shoeboxes, image in zip(boxes, photons, strict=True)
    ]
    if not any(len(pixels.slow) for pixels in images):
        raise NumbraggError("refine: every pixel of the boxes is masked or dropped; nothing is left to refine against")
    return gather(images, columns)


def _used(shoeboxes: Shoeboxes, image: Image, least: int, *, has_background: bool, fitted: bool) -> ImagePixels:
    used = shoeboxes.used & np.isfinite(image[shoeboxes.slow, shoeboxes.fast])
    counts = np.bincount(shoeboxes.box[used], minlength=len(shoeboxes.limits))
    rows = np.flatnonzero(used & (counts[shoeboxes.box] >= least))
    rows = rows[np.argsort(shoeboxes.box[rows], kind="stable")]
    slow, fast = shoeboxes.slow[rows], shoeboxes.fast[rows]
    box = shoeboxes.box[rows]
    background = shoeboxes.background[rows] if has_background else np.zeros(len(rows))
    if fitted:
        # What the boxes come with is cut off at 0: no plane, and no sum with one.
        background = (np.bincount(box, background) / np.maximum(np.bincount(box), 1))[box]
    return ImagePixels(slow, fast, box, image[slow, fast], background)
