"""Images of counts in the format that their name or ``--format`` asks for (specs/30-formats.md, 30.80 to 30.83)."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from numbragg.compat.build import Job
from numbragg.compat.report import smv_header
from numbragg.errors import NumbraggError
from numbragg.models.instrument import LARGEST_TRUSTED, Instrument
from numbragg.models.provenance import Provenance
from numbragg.models.quirks import NO_QUIRKS

Format = Literal["smv", "cbf", "nxmx"]
SUFFIXES: Mapping[str, Format] = {".cbf": "cbf", ".h5": "nxmx", ".nxs": "nxmx"}
"""Every other suffix is SMV."""

DEFAULT_SUFFIX: Mapping[Format, str] = {"smv": ".img", "cbf": ".cbf", "nxmx": ".h5"}

NOT_RECORDED = frozenset({"threads", "help", "version"})
"""Options that no image depends on."""


@dataclass(frozen=True)
class FileOptions:
    """How the images of a run are written.

    Parameters
    ----------
    format
        "smv", "cbf" or "nxmx"; None goes by the suffix.
    compression
        Of NXmx files.
    expt
        "geometry" or "crystal": write an ``.expt`` beside each image, without or with the crystal.
    words
        The command line that the files record; none where nothing is to be recorded.
    """

    format: Format | None = None
    compression: Any = "gzip"
    expt: str | None = None
    words: tuple[str, ...] = ()


DEFAULT_FILES = FileOptions()


def file_options(options: Mapping[str, Any], words: Sequence[str]) -> FileOptions:
    """From the long options and the flags of a command line.

    Raises
    ------
    NumbraggError
        Options that mode ``c`` does not have.
    """
    own = [name for name in ("format", "compression", "expt") if name in options]
    if options.get("compat") == "c" and own:
        raise NumbraggError(f"--{own[0]} needs --compat spec: mode c writes what nanoBragg.c writes")
    kept = [
        word
        for name, value in options.items()
        if name not in NOT_RECORDED
        for word in (f"--{name.replace('_', '-')}", f"{value:.15g}" if isinstance(value, float) else str(value))
    ]
    return FileOptions(options.get("format"), options.get("compression", "gzip"), options.get("expt"), (*kept, *words))


def format_of(path: str, files: FileOptions, job: Job) -> Format:
    """Format of an image of counts."""
    if job.experiment.quirks != NO_QUIRKS:
        return "smv"
    return files.format or SUFFIXES.get(Path(path).suffix.lower(), "smv")


def provenance_of(job: Job, files: FileOptions, image: int = 0, seed: int | None = None) -> Provenance | None:
    """What the files of a job say about where they come from; mode ``c`` says nothing, as nanoBragg.c."""
    if job.experiment.quirks != NO_QUIRKS or not files.words:
        return None
    from importlib.metadata import version

    return Provenance(version("numbragg"), files.words, -job.outputs.seed if seed is None else seed, image)


def instrument_of(job: Job) -> Instrument:
    """Instrument of a job as its image files describe it."""
    from numbragg.instruments import Readout, describe_instrument

    outputs, effects = job.outputs, job.effects
    readout = Readout(
        exposure=outputs.exposure,
        flux=outputs.flux,
        gain=1.0 if effects is None else float(effects.gain),
        pedestal=math.floor(outputs.adc_offset),
        saturation=LARGEST_TRUSTED if effects is None else float(effects.saturation - 1),
    )
    return describe_instrument(job.experiment, readout)


def for_formats(job: Job, files: FileOptions, words: Sequence[str]) -> Job:
    """The same job with the names and the offset that its formats have by default.

    Source: specs/30-formats.md, 30.80 and 30.81.

    Raises
    ------
    NumbraggError
        The image has several panels, and the format of a file holds one.
    """
    outputs = job.outputs
    if job.experiment.quirks != NO_QUIRKS:
        return job
    chosen = files.format or ("nxmx" if job.experiment.detector.has_panels else None)
    if chosen is not None:
        suffix = DEFAULT_SUFFIX[chosen]
        given = set(words)
        if not given & {"-noisefile", "-noiseimage"} and outputs.noise_file:
            outputs = dataclasses.replace(outputs, noise_file=str(Path(outputs.noise_file).with_suffix(suffix)))
        if not given & {"-intfile", "-intimage"} and outputs.int_file:
            outputs = dataclasses.replace(outputs, int_file=str(Path(outputs.int_file).with_suffix(suffix)))
    counts_photons = outputs.noise_file is not None and format_of(outputs.noise_file, files, job) != "smv"
    if counts_photons and "-adc" not in words:
        outputs = dataclasses.replace(outputs, adc_offset=0.0)
    for path in filter(None, (outputs.noise_file, outputs.int_file)):
        refuse_format(path, files, job)
    return dataclasses.replace(job, outputs=outputs)


def refuse_format(path: str, files: FileOptions, job: Job) -> None:
    """Refuse an image of counts whose format cannot hold it, before the work.

    Raises
    ------
    NumbraggError
        The image has several panels, and the format holds one.
    """
    kind = format_of(path, files, job)
    if kind != "nxmx" and job.experiment.detector.has_panels:
        raise NumbraggError(
            f"cannot write {path}: {kind.upper()} holds one panel; write .h5 (NXmx) or -floatfile NAME.npy"
        )


def measured_pixels(job: Job) -> npt.NDArray[np.bool_]:
    """Pixels whose counts mean something, of the shape of the image: active and not bad."""
    active = job.experiment.active_mask()
    bad = None if job.effects is None else job.effects.bad_pixels
    return active if bad is None else active & ~bad


def write_counts(
    path: str,
    counts: npt.NDArray[np.integer],
    job: Job,
    files: FileOptions,
    provenance: Provenance | None = None,
) -> list[str]:
    """Write one image of counts and what goes beside it; return the names of the files.

    Raises
    ------
    NumbraggError
        A file that cannot be written.
    """
    kind = format_of(path, files, job)
    active = measured_pixels(job)
    if kind == "smv":
        from numbragg.io.smv import write_smv

        write_smv(path, counts, smv_entries(job, provenance))  # type: ignore[arg-type]
    elif kind == "cbf":
        from numbragg.io.cbf import write_cbf

        write_cbf(path, with_gaps(counts, active), instrument_of(job), provenance)
    else:
        from numbragg.io.nxmx import write_nxmx

        write_nxmx(
            path, counts, instrument_of(job), active=active, compression=files.compression, provenance=provenance
        )
    if files.expt is None:
        return [path]
    from numbragg.io.expt import write_expt

    beside = os.path.splitext(path)[0] + ".expt"
    write_expt(beside, instrument_of(job), [path], crystal=files.expt == "crystal", provenance=provenance)
    return [path, beside]


def smv_entries(job: Job, provenance: Provenance | None) -> dict[str, str]:
    """Header of an SMV image; in mode ``spec`` with the exposure and where the image comes from."""
    header = smv_header(job)
    if job.experiment.quirks == NO_QUIRKS:
        header |= {"IMAGE_PEDESTAL": f"{math.floor(job.outputs.adc_offset)}", "TIME": f"{job.outputs.exposure:g}"}
    return header if provenance is None else header | provenance.entries()


def with_gaps(counts: npt.NDArray[np.integer], active: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """The same counts, -1 where nothing was measured."""
    return np.where(active, counts.astype(np.int32), np.int32(-1))
