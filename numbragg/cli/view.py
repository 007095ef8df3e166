"""``numbragg view``: an image as a picture or in a window (specs/75-view.md)."""

import dataclasses
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.assembly import Assembly, assemble
from numbragg.compat.options import split_options
from numbragg.errors import DeviationNote, NumbraggError, NumbraggWarning
from numbragg.models.crystal import Crystal
from numbragg.models.experiment import Experiment
from numbragg.models.instrument import Instrument
from numbragg.models.sampling import Sampling
from numbragg.prediction import Predictions, predict_reflections

SUMMARY: str = "look at an image, with resolution rings and predicted spots"

USAGE = """\
usage: numbragg view FILE [options] [FLAGS]

Draw an image: spots and background in one contrast, resolution rings, the beam centre, predicted reflections.

  FILE                 SMV (.img), CBF, NXmx (.h5, .h5:3 for its fourth image), .npy or raw float32; panels are put
                       together as the sample sees them (.h5:3:1, .npy:1 for one of them)
  FLAGS                of numbragg simulate: geometry and crystal, where they are not to come from the file
  --out FILE.png       write a picture; without it a window opens
  --predict            circle and label the reflections of the crystal of FLAGS, or of the flags that FILE records
  --rings D,D,...      rings at these resolutions in angstrom, or none (default: about five round numbers)
  --roi FMIN FMAX SMIN SMAX   draw these pixels only (of several panels: pixels of the picture)
  --max VALUE          draw this value, and all above, black (default: the 99.8th percentile)
  --shape SLOW FAST    pixels of a raw image, or of each of its panels

exit code: 0, 2 for bad input"""

VALUES = {"--out": 1, "--predict": 0, "--rings": 1, "--roi": 4, "--max": 1, "--shape": 2}
"""Options of this command and the number of words that follow each."""

REACH_OF_TABLE = 10.0
"""With amplitudes, what is bright enough to be seen decides, even far off the Ewald sphere."""
FAINTEST_PEAK = 1.0
"""Photons."""

CRYSTAL_FLAGS = ("-cell", "-mat", "-hkl", "-default_F", "-dump")
NO_CRYSTAL = ("-cell", "1", "1", "1", "90", "90", "90", "-default_F", "1")
"""For flags that say nothing of a crystal."""

Image = npt.NDArray[Any]


def main(argv: list[str]) -> int:
    """Run ``numbragg view`` and return its exit code.

    Raises
    ------
    NumbraggError
        Wrong options or flags, a file that cannot be read or written, no display and no --out, or no matplotlib.
    """
    own, rest = _own_options(argv)
    options, words = split_options(rest)
    if options.get("help") or not argv:
        print(USAGE)
        return 0
    if not words or words[0].startswith("-"):
        raise NumbraggError("view: which image? numbragg view FILE [options] [FLAGS]")
    path, flags = words[0], words[1:]
    target = own["--out"][0] if "--out" in own else None
    if target is not None and Path(target).suffix.lower() != ".png":
        raise NumbraggError(f"cannot write {target}: the name of a picture must end in .png")
    from numbragg.io.figures import require_matplotlib
    from numbragg.viewing import View, onto_picture, show_view, write_view

    require_matplotlib()
    rings, roi, maximum = _rings(own), _roi(own), _maximum(own)
    pixels = _read(path)
    with np.errstate(all="ignore"):
        experiment = _experiment(path, options, flags, predict="--predict" in own)
        pixels = _shaped(path, pixels, own, experiment)
        assembly = _assembled(path, pixels, experiment)
        spots = _predicted(experiment) if "--predict" in own and experiment is not None else None
        if assembly is not None:
            pixels, experiment = assembly.picture, assembly.experiment
            spots = None if spots is None else onto_picture(spots, assembly)
        active = None if assembly is None else assembly.active
        if pixels.dtype.kind == "i":
            active = np.greater_equal(pixels, 0) & (True if active is None else active)
        view = View(
            pixels,
            title=os.path.basename(path),
            unit="counts" if pixels.dtype.kind in "iu" else "photons",
            experiment=experiment,
            rings=rings,
            spots=spots,
            roi=roi,
            maximum=maximum,
            active=active,
            assembly=assembly,
        )
        if target is None:
            show_view(view)
        else:
            write_view(target, view)
    return 0


def _own_options(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Take the options of this command out of its words; the last of several holds."""
    own: dict[str, list[str]] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in VALUES:
            rest.append(word)
            continue
        count = VALUES[name]
        if equals and count != 1:
            raise NumbraggError(f"{name} takes {count or 'no'} words behind it (numbragg view --help)")
        own[name] = [value] if equals else [text for _, text in zip(range(count), words, strict=False)]
        if len(own[name]) != count or "" in own[name]:
            raise NumbraggError(f"{name} takes {count} word{'s' if count > 1 else ''} (numbragg view --help)")
    return own, rest


def _rings(own: dict[str, list[str]]) -> tuple[float, ...] | None:
    if "--rings" not in own:
        return None
    words = [word for word in own["--rings"][0].split(",") if word != "none"]
    return tuple(_number("--rings", word) for word in words)


def _roi(own: dict[str, list[str]]) -> tuple[int, int, int, int] | None:
    if "--roi" not in own:
        return None
    first, last, top, bottom = (_whole("--roi", word) for word in own["--roi"])
    return first, last, top, bottom


def _maximum(own: dict[str, list[str]]) -> float | None:
    return _number("--max", own["--max"][0]) if "--max" in own else None


def _number(name: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise NumbraggError(f"{name} takes numbers, not {word[:60]!r}") from None


def _whole(name: str, word: str) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise NumbraggError(f"{name} takes whole numbers from 0, not {word[:60]!r}")
    return int(word)


def _read(path: str) -> Image:
    from numbragg.io.image_file import read_image

    return read_image(path)


def _shaped(path: str, pixels: Image, own: dict[str, list[str]], experiment: Experiment | None) -> Image:
    """Give a raw image its shape: --shape, else that of the geometry; take the one panel that FLAGS choose."""
    detector = None if experiment is None else experiment.detector
    if pixels.ndim == 3 and detector is not None and detector.panel is not None and len(pixels) == len(detector.panels):
        return np.asarray(pixels[detector.panel])
    if pixels.ndim == 3 and len(pixels) == 1 and (detector is None or not detector.has_panels):
        return np.asarray(pixels[0])
    if pixels.ndim > 1:
        return pixels
    shape = () if detector is None else detector.shape
    if "--shape" in own:
        shape = (*shape[:-2], *(_whole("--shape", word) for word in own["--shape"]))
    if not shape:
        raise NumbraggError(f"{path} does not say its shape: give --shape SLOW FAST, or the flags of its geometry")
    if math.prod(shape) != pixels.size:
        panels = "" if len(shape) == 2 else f"{shape[0]} panels of "
        raise NumbraggError(f"{path} has {pixels.size} pixels, not {panels}{shape[-2]} x {shape[-1]} (slow x fast)")
    return pixels.reshape(shape)


def _assembled(path: str, pixels: Image, experiment: Experiment | None) -> Assembly | None:
    """Put panels together; None where there is one."""
    if experiment is None and pixels.ndim == 3:
        raise NumbraggError(
            f"{path} holds {len(pixels)} panels: give --geometry FILE, or look at one of them ({path}:0, for instance)"
        )
    if experiment is None or (pixels.ndim == 2 and not experiment.detector.has_panels):
        return None
    if pixels.shape != experiment.detector.shape:
        in_image, in_geometry = (_size(shape) for shape in (pixels.shape, experiment.detector.shape))
        raise NumbraggError(f"{path} has {in_image}, the geometry {in_geometry} (fast x slow)")
    return assemble(experiment, pixels)


def _size(shape: tuple[int, ...]) -> str:
    panels = "1 panel" if len(shape) == 2 else f"{shape[0]} panels"
    return f"{panels} of {shape[-1]} x {shape[-2]} pixels"


def _experiment(path: str, options: dict[str, Any], flags: list[str], *, predict: bool) -> Experiment | None:
    """Geometry and crystal: from the flags, else from those that the file records, else from its header."""
    from numbragg.io.image_file import split_name

    name = split_name(path)
    experiment = _of_file(path, str(name.path), name.image or 0, options, flags, predict=predict)
    if name.panel is None or experiment is None or not experiment.detector.panels:
        return experiment
    return experiment.of_panel(name.panel)


def _of_file(
    path: str, source: str, image: int, options: dict[str, Any], flags: list[str], *, predict: bool
) -> Experiment | None:
    """The same of all panels of an image, which is ``path`` in the words of the user."""
    from numbragg.provenance import file_kind, read_provenance

    kind = file_kind(source)
    if flags or "geometry" in options:
        return _from_flags(source, kind, options, flags, predict=predict)
    instrument, recorded = _instrument(source, kind), read_provenance(source)
    if predict and recorded is None:
        raise NumbraggError("--predict needs the flags of a crystal: numbragg view FILE --predict FLAGS")
    if recorded is not None and (predict or instrument is None):
        recorded_options, words = split_options(recorded.flags)
        experiment = _from_flags(source, "", recorded_options, words, predict=predict)
        return experiment if instrument is None else _at_phi(experiment, instrument, image)
    if instrument is None and kind == "smv":
        warnings.warn(
            f"{path}: the header does not say all of the geometry; give flags for rings and beam centre",
            NumbraggWarning,
            stacklevel=2,
        )
    return None if instrument is None else _bare(instrument)


def _from_flags(path: str, kind: str, options: dict[str, Any], flags: list[str], *, predict: bool) -> Experiment:
    """What flags say, over the header of an SMV image or the geometry of another."""
    from numbragg.compat.build import build_job
    from numbragg.compat.extras import extras_of

    geometry = options.get("geometry")
    words = list(flags)
    if geometry is None and kind in ("cbf", "nxmx"):
        geometry = path
    elif geometry is None and kind == "smv" and "-img" not in words:
        words = ["-img", path, *words]
    if not predict and not any(flag in words for flag in CRYSTAL_FLAGS):
        words += NO_CRYSTAL
    elif "-hkl" not in words and "-dump" not in words and "-default_F" not in words:
        words += ["-default_F", "1"]
    with warnings.catch_warnings():
        # Where a simulation would differ from nanoBragg.c is no news to somebody who looks at an image.
        warnings.simplefilter("ignore", DeviationNote)
        return build_job(words, options.get("compat", "spec"), geometry=geometry, extras=extras_of(options)).experiment


def _instrument(path: str, kind: str) -> Instrument | None:
    """What the file says of its detector and beam; None where that is not enough."""
    if kind in ("cbf", "nxmx"):
        from numbragg.compat.geometry_file import read_geometry

        return read_geometry(path)
    if kind != "smv":
        return None
    from numbragg.io.smv_instrument import read_smv_instrument

    return read_smv_instrument(path)


def _bare(instrument: Instrument) -> Experiment:
    """Detector and beam of a file, in its own frame, around a crystal that scatters nothing."""
    from numbragg.instruments import within_detector
    from numbragg.models.beam import Beam
    from numbragg.models.detector import Detector

    along_fast = instrument.fast_axis - (instrument.fast_axis @ instrument.beam_direction) * instrument.beam_direction
    electric = along_fast if np.any(np.abs(along_fast) > 1e-3) else instrument.slow_axis
    return Experiment(
        crystal=Crystal(cell=(1.0, 1.0, 1.0, 90.0, 90.0, 90.0)),
        beam=Beam(wavelength=instrument.wavelength, direction=instrument.beam_direction, polarization_axis=electric),
        detector=Detector(
            n_fast=instrument.n_fast,
            n_slow=instrument.n_slow,
            pixel_size=instrument.pixel_size,
            distance=instrument.distance,
            fast_axis=instrument.fast_axis,
            slow_axis=instrument.slow_axis,
            normal=instrument.normal,
            origin=instrument.origin * 1e-3,
            panels=within_detector(instrument),
        ),
    )


def _at_phi(experiment: Experiment, instrument: Instrument, image: int) -> Experiment:
    """The rotation of one image of a series, from its file."""
    sampling = experiment.scan.sampling
    if not instrument.is_still:
        sampling = Sampling(instrument.osc, max(2, sampling.count))
    scan = dataclasses.replace(experiment.scan, start=instrument.phi_start + image * instrument.osc, sampling=sampling)
    return dataclasses.replace(experiment, scan=scan)


def _predicted(experiment: Experiment) -> Predictions:

    if experiment.crystal.structure_factors is None:
        return predict_reflections(experiment)
    spots = predict_reflections(experiment, rotation="steps", reach=REACH_OF_TABLE)
    return spots.only(spots.peak >= FAINTEST_PEAK)
