"""What a detector does to the photons that reach it."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_count, require_finite, require_not_negative, require_positive

PointSpread = Literal["gaussian", "fiber"]

LARGEST_SATURATION = 2**31 - 1
DEFAULT_SATURATION = 65535
DEFAULT_ADC_OFFSET = 40.0
DEFAULT_CALIBRATION_SEED = 123456789


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorEffects:
    """Noise and defects of a detector, in the order in which they act (specs/10-physics.md, 10.80 to 10.87).

    The default is a perfect counter of photons: `numbragg.detector_image` then equals `numbragg.poisson_noise`.

    Parameters
    ----------
    flicker
        Standard deviation of the brightness of the source from image to image, as a fraction.
    calibration_error
        Standard deviation of the sensitivity from pixel to pixel, as a fraction (0.03 is usual).
    calibration_seed
        Any integer. The sensitivities belong to the detector: they are the same in every image of one seed.
    photon_noise
        False leaves out the counting of single photons (Poisson).
    point_spread
        "gaussian", "fiber" (the tails of a fiber-optic taper) or None: how a photon's light spreads over pixels.
    fwhm
        Full width at half maximum of the point spread, mm.
    radius
        Half width of the square of pixels over which light is spread, pixels; None chooses (10.85).
    gain
        ADU for each photon.
    readout_noise
        Standard deviation of every reading, ADU.
    adc_offset
        Added to every pixel, ADU; its whole part counts.
    saturation
        Largest count, ADU, at most 2147483647.
    bad_pixels
        Boolean, of the shape of an image: True where a pixel reads 0.
    """

    flicker: float = 0.0
    calibration_error: float = 0.0
    calibration_seed: int = DEFAULT_CALIBRATION_SEED
    photon_noise: bool = True
    point_spread: PointSpread | None = None
    fwhm: float = 0.0
    radius: int | None = None
    gain: float = 1.0
    readout_noise: float = 0.0
    adc_offset: float = DEFAULT_ADC_OFFSET
    saturation: int = DEFAULT_SATURATION
    bad_pixels: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        owner = "detector effects"
        require_not_negative(owner, flicker=self.flicker, calibration_error=self.calibration_error)
        require_not_negative(owner, readout_noise=self.readout_noise, fwhm=self.fwhm)
        require_positive(owner, gain=self.gain)
        require_finite(owner, adc_offset=self.adc_offset)
        require_count(owner, saturation=self.saturation, radius=self.radius)
        if self.saturation > LARGEST_SATURATION:
            raise NumbraggError(f"{owner}: saturation must be at most {LARGEST_SATURATION}, not {self.saturation}")
        if abs(self.adc_offset) > self.saturation:
            raise NumbraggError(
                f"{owner}: an ADC offset of {self.adc_offset:g} lies beyond the saturation at {self.saturation}"
            )
        if self.point_spread not in (None, *get_args(PointSpread)):
            raise NumbraggError(f"{owner}: the point spread must be gaussian or fiber, not {self.point_spread}")
        if (self.point_spread is None) != (self.fwhm == 0.0):
            raise NumbraggError(f"{owner}: a point spread needs a kind (gaussian or fiber) and a width above 0 mm")
        if self.bad_pixels is not None and (self.bad_pixels.ndim not in (2, 3) or self.bad_pixels.dtype != bool):
            raise NumbraggError(f"{owner}: bad_pixels must be a boolean array of the shape of an image")

    @property
    def count_dtype(self) -> type[np.unsignedinteger[Any]] | type[np.signedinteger[Any]]:
        """Uint16 where the saturation allows it, else int32."""
        return np.uint16 if self.saturation <= np.iinfo(np.uint16).max else np.int32
