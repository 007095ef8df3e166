"""From the words of a command line to an experiment and the files it is to leave."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from numbragg.compat.build_beam import DEFAULT_EXPOSURE, build_beam
from numbragg.compat.build_crystal import build_crystal
from numbragg.compat.build_detector import Geometry, build_geometry
from numbragg.compat.extras import NO_EXTRAS, Extras
from numbragg.compat.flags import check_contradictions, match_flags
from numbragg.compat.geometry_file import read_geometry
from numbragg.compat.image_header import HeaderValues, read_headers
from numbragg.compat.sampling_rules import sample_phi
from numbragg.compat.settings import FLAG_NAMES, Settings
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.stol import Abscissa
from numbragg.lowering.detector_frame import corner_points, place_detector
from numbragg.lowering.lower import ANGSTROM, WATER_MOLAR_MASS
from numbragg.lowering.orientations import phi_angles
from numbragg.lowering.sources import shortest_wavelength
from numbragg.materials import amorphous_layer
from numbragg.models.amorphous import AmorphousLayer
from numbragg.models.beam import Beam
from numbragg.models.effects import DetectorEffects
from numbragg.models.experiment import Experiment, Roi, Scan
from numbragg.models.quirks import NO_QUIRKS, Quirks

Compat = Literal["spec", "c"]

MODEL_MARGIN = 0.98
"""Structure factors of a model reach this much beyond the resolution of the farthest corner."""

ABSCISSAE: dict[str, Abscissa] = {"stol": "stol", "stol_4": "4stol", "stol_q": "Q"}
"""First column of the tables of the background, by key."""
MICROMETRES = 1000.0
"""In a mm."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files and numbers that the image itself does not depend on. None is a file that is not written."""

    float_file: str | None
    int_file: str | None
    pgm_file: str | None
    noise_file: str | None
    png_file: str | None
    scale: float | None
    pgm_scale: float | None
    adc_offset: float
    seed: int
    """Of the noise, as nanoBragg.c keeps it: minus the value of the flag."""
    printout: bool
    printout_pixel: tuple[int, int] | None
    """(fast, slow)"""
    progress: bool
    exposure: float = 1.0
    """Seconds."""
    flux: float = 0.0
    """Photons/s; 0 where the fluence was given."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a command line asks for."""

    experiment: Experiment
    outputs: Outputs
    geometry: Geometry
    drawn_misset: tuple[float, float, float] | None
    """Degrees, when the orientation was drawn at random."""
    effects: DetectorEffects | None = None
    """What the noise image holds beside photon counting."""


def parse_flags(
    argv: Sequence[str], compat: Compat = "spec", *, c_threads: int = 1, geometry: str | None = None
) -> Experiment:
    """Build an experiment from nanoBragg's flags.

    Parameters
    ----------
    argv
        The flags and their values, one word each, as a shell would split them.
    compat
        "spec" for exact flags and the physics as it should be; "c" for the flags and the image of nanoBragg.c
        (specs/40-compat.md).
    c_threads
        Threads of the emulated nanoBragg.c (mode "c").
    geometry
        A file that sets detector, beam, rotation and orientation where no flag does: ``.expt``, XPARM.XDS, XDS.INP, a
        CrystFEL ``.geom``, CBF or NXmx (specs/30-formats.md, 30.90).

    Raises
    ------
    NumbraggError
        Anything that is wrong with the flags or with the files that they name.

    Warns
    -----
    NumbraggWarning
        What the user probably wants to change; DeviationNote where a defect of nanoBragg.c matters.
    """
    return build_job(argv, compat, c_threads=c_threads, geometry=geometry).experiment


def build_job(
    argv: Sequence[str],
    compat: Compat = "spec",
    *,
    c_threads: int = 1,
    geometry: str | None = None,
    extras: Extras = NO_EXTRAS,
) -> Job:
    """Build an experiment and its outputs; parameters as of `parse_flags`.

    ``geometry`` names a file that sets detector, beam, rotation and orientation where no flag does
    (specs/30-formats.md, 30.90); ``extras`` are what long options say of sample and beam.
    """
    if compat not in ("spec", "c"):
        raise NumbraggError(f"compat must be spec or c, not {compat}")
    occurrences = match_flags(argv, compat)
    if compat == "spec":
        check_contradictions(occurrences)
    quirks = Quirks.all(c_threads) if compat == "c" else NO_QUIRKS
    if geometry is not None and compat == "c":
        raise NumbraggError("--geometry needs --compat spec: nanoBragg.c reads no such file")
    instrument = None if geometry is None else read_geometry(geometry)
    return build_from(Settings(occurrences, quirks, instrument, extras))


def build_from(settings: Settings) -> Job:
    """Build a job from the values of flags."""
    background = _background(settings)
    header, mask = read_headers(settings)
    geometry = build_geometry(settings, header)
    beam = build_beam(settings, header, geometry)
    seed = -settings.get("seed", default=int(time.time()))
    d_min = float(settings.get("dmin", default=0.0))
    if d_min < 0.0:
        raise NumbraggError(f"-dmin must not be negative, but is {d_min:g}")
    model_d_min = d_min or _corner_resolution(geometry, beam) * MODEL_MARGIN
    built = build_crystal(settings, float(beam.wavelength), model_d_min, seed)
    experiment = Experiment(
        crystal=built.crystal,
        beam=beam,
        detector=geometry.detector,
        scan=_scan(settings, header, geometry),
        oversample=_oversample(settings),
        oversample_omega=settings.given("oversample_omega"),
        oversample_polarization=settings.given("oversample_polar"),
        oversample_thickness=settings.given("oversample_thick"),
        d_min=d_min,
        water_size=0.0 if background else settings.get("water", default=0.0),
        background=(*background, *settings.extras.background),
        roi=_roi(settings),
        mask=mask,
        quirks=settings.quirks,
        line_factors=built.line_factors,
    )
    _note_deviations(settings, experiment)
    return Job(
        experiment=experiment, outputs=_outputs(settings, seed), geometry=geometry, drawn_misset=built.drawn_misset
    )


def _background(settings: Settings) -> tuple[AmorphousLayer, ...]:
    """The cube of -water with the amplitudes of a table (specs/20-command-line.md, 20.51)."""
    key = settings.last(*ABSCISSAE)
    if key is None:
        return ()
    path, flag = settings.get(key), FLAG_NAMES[key]
    if settings.quirks.q30_amplitudes_unused:
        warnings.warn(f"{flag}: accepted, without effect", NumbraggWarning, 2)
        return ()
    size = settings.get("water", default=0.0) / MICROMETRES
    if not size > 0:
        raise NumbraggError(f"{flag} needs the size of what scatters: give -water UM, the side of a cube, too")
    settings.note("Q30", "the table of background amplitudes")
    layer = amorphous_layer(
        path,
        thickness=size,
        width=size,
        density=settings.get("density", default=1.0),
        molecular_weight=settings.get("molecular_weight", default=WATER_MOLAR_MASS),
        abscissa=ABSCISSAE[key],
    )
    return (layer,)


def _scan(settings: Settings, header: HeaderValues, geometry: Geometry) -> Scan:
    osc, step = settings.get("osc", default=header.osc), settings.get("phistep")
    count = settings.get("phisteps")
    if settings.quirks.q16_count_without_range:
        # nanoBragg.c keeps "not given" as a negative number.
        osc = None if osc is not None and osc < 0 else osc
        step = None if step is not None and step < 0 else step
        count = None if count is not None and count < 0 else count
    elif count is not None and count < 0:
        raise NumbraggError(f"-phisteps must not be negative, but is {count}")
    elif count is not None and count > 1 and osc is None and step is None:
        warnings.warn("Q17 -phisteps alone rotates by 1 degree (specs/40-compat.md#q17)", NumbraggWarning, 2)
    start = settings.get("phi", default=header.phi or 0.0)
    return Scan(start=start, sampling=sample_phi(osc, step, count), spindle_axis=geometry.spindle)


def _oversample(settings: Settings) -> int | None:
    oversample = settings.get("oversample")
    if oversample is not None and oversample < 1:
        if settings.quirks.q16_count_without_range:
            return None
        raise NumbraggError(f"-oversample must be at least 1, not {oversample}")
    return None if oversample is None else int(oversample)


def _roi(settings: Settings) -> Roi | None:
    values = settings.values("roi")
    return None if values is None else Roi(*(int(value) for value in values))


def _outputs(settings: Settings, seed: int) -> Outputs:
    def file(key: str, default: str, off: str | None = None, *also: str) -> str | None:
        wanted = off is None or settings.last(key, off, *also) != off
        return str(settings.get(key, default=default)) if wanted else None

    pixel = settings.values("printout_pixel")
    return Outputs(
        float_file=file("floatfile", "floatimage.bin"),
        int_file=file("intfile", "intimage.img"),
        pgm_file=file("pgmfile", "image.pgm", "nopgm", "pgmscale"),
        noise_file=file("noisefile", "noiseimage.img", "nonoise"),
        png_file=settings.get("pngfile"),
        scale=settings.get("scale"),
        pgm_scale=settings.get("pgmscale"),
        adc_offset=settings.get("adc", default=40.0),
        seed=seed,
        printout=settings.given("printout", "printout_pixel"),
        printout_pixel=None if pixel is None else (int(pixel[0]), int(pixel[1])),
        progress=settings.last("progress", "noprogress") != "noprogress",
        exposure=settings.get("exposure", default=DEFAULT_EXPOSURE),
        flux=settings.get("flux", default=0.0),
    )


def _corner_resolution(geometry: Geometry, beam: Beam) -> float:
    """Smallest d-spacing, angstrom, that a source makes reach a corner of a panel."""
    # Of all panels: one alone has the image that it has among the others.
    detector = replace(geometry.detector, panel=None)
    corners = corner_points(detector, place_detector(detector, geometry.beam))
    directions = np.array([corner / np.linalg.norm(corner) for corner in corners])
    largest = float(np.linalg.norm(directions - np.asarray(geometry.beam), axis=1).max())
    return shortest_wavelength(beam) / ANGSTROM / largest


def _note_deviations(settings: Settings, experiment: Experiment) -> None:
    """Tell which defects of nanoBragg.c touch this run in mode spec."""
    if settings.quirks != NO_QUIRKS:
        return
    phi = phi_angles(experiment.scan)
    sampled = experiment.oversample_omega or experiment.oversample_polarization or experiment.oversample_thickness
    touched: tuple[tuple[str, str, Any], ...] = (
        ("Q01", "rotation through phi = 0", bool((phi == 0).any() and (phi != 0).any())),
        ("Q02", "-oversample_thick, -oversample_polar and -oversample_omega", sampled),
        ("Q05", "the water background", experiment.water_size > 0),
        ("Q19", "-twotheta_axis", _axis_sets_twotheta(settings)),
        ("Q20", "-misset_seed", settings.given("misset_seed")),
        ("Q12", "interpolation at the edge of the table", experiment.crystal.interpolates),
        ("Q25", "a two-theta axis of another length than 1", _axis_was_scaled(settings, experiment)),
    )
    for register, text, applies in touched:
        if applies:
            settings.note(register, text)


def _axis_sets_twotheta(settings: Settings) -> bool:
    axis, twotheta = settings.values("twotheta_axis"), settings.get("twotheta", default=0.0)
    return axis is not None and settings.last("twotheta_axis", "twotheta") == "twotheta_axis" and axis[0] != twotheta


def _axis_was_scaled(settings: Settings, experiment: Experiment) -> bool:
    axis = settings.values("twotheta_axis")
    given = axis is not None and abs(float(np.linalg.norm(np.array(axis, dtype=float))) - 1.0) > 1e-6
    return bool(given and experiment.detector.twotheta != 0)
