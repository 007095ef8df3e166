"""Lists of experiments as DIALS keeps them: JSON with the suffix ``.expt`` (specs/30-formats.md, 30.70 to 30.74)."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gemmi
import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.input_file import first_line, input_file
from numbragg.models.instrument import Instrument
from numbragg.models.panel import Panel
from numbragg.models.provenance import Provenance

_IDENTITY = np.eye(3).ravel().tolist()
_DIGITS = re.compile(r"(.*?)([0-9]+)(\.[^.0-9/]*)?$", re.DOTALL)
PROVENANCE_KEY = "numbragg"
NO_NAME = "Panel"
"""What a panel without a name is called in the file."""
_SAME = 1e-6
"""Relative, of what all panels have in common; sizes are far from a million pixels."""
_COMMON = {
    "image_size": ("size", (0, 0)),
    "pixel_size": ("size of the pixels", (0.0, 0.0)),
    "gain": ("gain", 1.0),
    "pedestal": ("pedestal", 0.0),
    "thickness": ("thickness", 0.0),
    "mu": ("attenuation", 0.0),
}
"""Entries of which an instrument has one for all panels: what they are called, and their value where missing."""

Vector = npt.NDArray[np.float64]
Frame = tuple[Vector, Vector, Vector]
"""Origin, fast and slow."""


class ExperimentFile(NamedTuple):
    """What a file of experiments holds: the first experiment, its images, and how to simulate them again."""

    instrument: Instrument
    images: tuple[str, ...]
    """Paths of the image files, or the one template with ``#`` in place of digits; relative to the file's folder."""
    n_images: int
    provenance: Provenance | None


def write_expt(
    path: str | os.PathLike[str],
    instrument: Instrument,
    images: Sequence[str | os.PathLike[str]] = (),
    *,
    n_images: int = 1,
    crystal: bool = True,
    provenance: Provenance | None = None,
) -> None:
    """Write an experiment for DIALS.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    instrument
        Detector, beam, rotation and crystal.
    images
        Image files that belong to it: one file of several images, or files of one image whose names end in
        consecutive numbers.
    n_images
        Number of images; of a rotation, each continues where the one before it ends.
    crystal
        Say how the crystal lies, where the instrument knows.
    provenance
        How to simulate the images again.

    Raises
    ------
    NumbraggError
        Names that are no series, or a file that cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.70 to 30.73.
    """
    folder = os.path.dirname(os.path.abspath(path))
    files = [os.path.relpath(image, folder) for image in images]
    rotates = not instrument.is_still
    first = 1
    experiment: dict[str, Any] = {"__id__": "Experiment", "identifier": "", "beam": 0, "detector": 0}
    document: dict[str, Any] = {"__id__": "ExperimentList", "experiment": [experiment], "imageset": []}
    if files:
        imageset, first = _imageset(path, files, n_images, rotates)
        document["imageset"] = [imageset]
        experiment["imageset"] = 0
    document["beam"] = [_beam(instrument)]
    document["detector"] = [_detector(instrument)]
    document["goniometer"], document["scan"] = [], []
    if rotates:
        experiment |= {"goniometer": 0, "scan": 0}
        axis = instrument.spindle_axis.tolist()
        document["goniometer"] = [{"rotation_axis": axis, "fixed_rotation": _IDENTITY, "setting_rotation": _IDENTITY}]
        document["scan"] = [_scan(instrument, first, n_images)]
    document["crystal"] = []
    if crystal and instrument.cell_axes is not None:
        experiment["crystal"] = 0
        document["crystal"] = [_crystal(instrument)]
    document |= {"profile": [], "scaling_model": []}
    if provenance is not None:
        document[PROVENANCE_KEY] = provenance.entries()
    with atomic_write(path) as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode("ascii"))


def read_expt(path: str | os.PathLike[str]) -> ExperimentFile:
    """Read the first experiment of a file of DIALS.

    Raises
    ------
    NumbraggError
        The file cannot be read, is no list of experiments, lacks a beam or a detector, or its detector has oblong
        pixels or panels that differ.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.74 and 30.96.
    """
    source = input_file(path)
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise NumbraggError(f"{source}{line}: not readable as JSON: {first_line(error)}") from error
    if not isinstance(document, dict) or document.get("__id__") != "ExperimentList":
        raise NumbraggError(f"{source} is no list of experiments (__id__ is not ExperimentList)")
    try:
        return _experiment(source, document)
    except NumbraggError as error:
        text = str(error)
        raise NumbraggError(text if text.startswith(str(source)) else f"{source}: {text}") from error
    except KeyError as error:
        raise NumbraggError(f"{source}: the entry {error} is missing") from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise NumbraggError(f"{source}: an entry is not what it should be: {first_line(error)}") from error


def image_template(path: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Template and number of a file whose name ends in digits: ``x_#####.img`` and 7 for ``x_00007.img``."""
    folder, name = os.path.split(os.fspath(path))
    match = _DIGITS.fullmatch(name)
    if match is None:
        return None
    return os.path.join(folder, match[1] + "#" * len(match[2]) + (match[3] or "")), int(match[2])


def _imageset(
    path: str | os.PathLike[str], files: list[str], n_images: int, rotates: bool
) -> tuple[dict[str, Any], int]:
    blank = {"mask": "", "gain": "", "pedestal": "", "dx": "", "dy": "", "params": {}}
    several = len(files) == 1 and n_images > 1
    multiple = several or Path(files[0]).suffix in (".h5", ".nxs")
    if len(files) not in (1, n_images):
        raise NumbraggError(f"cannot write {path}: {n_images} images in {len(files)} files")
    if multiple:
        indices = list(range(n_images))
        if rotates:
            return {"__id__": "ImageSequence", "template": files[0], "single_file_indices": indices, **blank}, 1
        return {"__id__": "ImageSet", "images": files * n_images, "single_file_indices": indices, **blank}, 1
    if not rotates:
        return {"__id__": "ImageSet", "images": files, **blank}, 1
    found = [image_template(file) for file in files]
    if found[0] is None:
        if n_images == 1:
            return {"__id__": "ImageSequence", "template": files[0], **blank}, 1
        raise NumbraggError(f"cannot write {path}: the names of a rotation series must end in numbers")
    template, first = found[0]
    if found != [(template, first + i) for i in range(n_images)]:
        raise NumbraggError(f"cannot write {path}: the names of the images are no series of {template}")
    return {"__id__": "ImageSequence", "template": template, **blank}, first


def _beam(instrument: Instrument) -> dict[str, Any]:
    return {
        "direction": (-instrument.beam_direction).tolist(),
        "wavelength": instrument.wavelength,
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": instrument.polarization_normal.tolist(),
        "polarization_fraction": instrument.polarization_fraction,
        "flux": instrument.flux,
        "transmission": 1.0,
    }


def _detector(instrument: Instrument) -> dict[str, Any]:
    absorbs = instrument.thickness > 0 and instrument.attenuation > 0
    common = {
        "type": "SENSOR_PAD",
        "raw_image_offset": [0, 0],
        "image_size": [instrument.n_fast, instrument.n_slow],
        "pixel_size": [instrument.pixel_size] * 2,
        "trusted_range": [-1.0, instrument.saturation - instrument.pedestal],
        "thickness": instrument.thickness,
        "material": "Si" if absorbs else "",
        "mu": instrument.attenuation,
        "identifier": "",
        "mask": [],
        "gain": instrument.gain,
        "pedestal": instrument.pedestal,
        "px_mm_strategy": {"type": "ParallaxCorrectedPxMmStrategy" if absorbs else "SimplePxMmStrategy"},
    }
    panels = [
        {
            "name": panel.name or NO_NAME,
            "fast_axis": panel.fast_axis.tolist(),
            "slow_axis": panel.slow_axis.tolist(),
            "origin": panel.origin.tolist(),
            **common,
        }
        for panel in instrument.all_panels
    ]
    group = {
        **common,
        "name": "",
        "type": "",
        "fast_axis": [1.0, 0.0, 0.0],
        "slow_axis": [0.0, 1.0, 0.0],
        "origin": [0.0, 0.0, 0.0],
        "image_size": [0, 0],
        "pixel_size": [0.0, 0.0],
        "trusted_range": [0.0, 0.0],
        "thickness": 0.0,
        "material": "",
        "mu": 0.0,
        "gain": 1.0,
        "pedestal": 0.0,
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
        "children": [{"panel": number} for number in range(len(panels))],
    }
    return {"panels": panels, "hierarchy": group}


def _scan(instrument: Instrument, first: int, n_images: int) -> dict[str, Any]:
    return {
        "image_range": [first, first + n_images - 1],
        "batch_offset": 0,
        "oscillation": [instrument.phi_start, instrument.osc],
        "exposure_time": [instrument.exposure] * n_images,
        "epochs": [instrument.exposure * i for i in range(n_images)],
        "valid_image_ranges": {},
    }


def _crystal(instrument: Instrument) -> dict[str, Any]:
    group = gemmi.find_spacegroup_by_name(instrument.space_group)
    if group is None:
        raise NumbraggError(f"unknown space group '{instrument.space_group}'")
    axes = np.asarray(instrument.cell_axes)
    return {
        "__id__": "crystal",
        "real_space_a": axes[0].tolist(),
        "real_space_b": axes[1].tolist(),
        "real_space_c": axes[2].tolist(),
        "space_group_hall_symbol": f" {group.hall}",
    }


def _experiment(source: Path, document: dict[str, Any]) -> ExperimentFile:
    experiments = document["experiment"]
    if not experiments:
        raise NumbraggError(f"{source} holds no experiment")
    chosen = experiments[0]

    def model(kind: str) -> dict[str, Any] | None:
        number = chosen.get(kind)
        return None if number is None else document[kind][number]

    beam, detector, scan, goniometer = (model(kind) for kind in ("beam", "detector", "scan", "goniometer"))
    if beam is None or detector is None:
        raise NumbraggError(f"{source}: the first experiment has no {'beam' if beam is None else 'detector'}")
    panel, trusted = _common(detector["panels"])
    crystal, imageset = model("crystal"), model("imageset")
    n_images = 1 if scan is None else int(scan["image_range"][1] - scan["image_range"][0] + 1)
    parallax = _has_parallax(panel)
    exposures = [] if scan is None else scan.get("exposure_time", [])
    instrument = Instrument.of_panels(
        _placed(detector),
        n_fast=int(panel["image_size"][0]),
        n_slow=int(panel["image_size"][1]),
        pixel_size=float(panel["pixel_size"][0]),
        wavelength=float(beam["wavelength"]),
        beam_direction=-_unit(beam["direction"]),
        polarization_fraction=float(beam.get("polarization_fraction", 0.5)),
        polarization_normal=_unit(beam.get("polarization_normal", [0.0, 1.0, 0.0])),
        spindle_axis=np.array([1.0, 0.0, 0.0]) if goniometer is None else _spindle(goniometer),
        phi_start=0.0 if scan is None else float(scan["oscillation"][0]),
        osc=0.0 if scan is None else float(scan["oscillation"][1]),
        exposure=float(exposures[0]) if exposures else 1.0,
        thickness=float(panel.get("thickness", 0.0)) if parallax else 0.0,
        attenuation=float(panel.get("mu", 0.0)) if parallax else 0.0,
        gain=float(panel.get("gain", 1.0)),
        pedestal=float(panel.get("pedestal", 0.0)),
        saturation=trusted + float(panel.get("pedestal", 0.0)),
        flux=float(beam.get("flux", 0.0)),
        cell_axes=None if crystal is None else _cell_axes(crystal, goniometer),
        space_group="P 1" if crystal is None else _space_group(crystal),
    )
    images = () if imageset is None else tuple(imageset.get("images") or [imageset["template"]])
    provenance = Provenance.from_entries(document.get(PROVENANCE_KEY, {}))
    return ExperimentFile(instrument, images, n_images if scan is not None else max(1, len(images)), provenance)


def _common(panels: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """A panel that says of all what an instrument says once, and the smallest of their largest trusted counts."""
    if not panels:
        raise NumbraggError("the detector has no panel")
    first = panels[0]
    for number, panel in enumerate(panels):
        fast, slow = (float(size) for size in panel["pixel_size"])
        if not abs(fast - slow) <= _SAME * fast:
            raise NumbraggError(f"pixels are not square ({fast} x {slow} mm in {_title(panels, number)})")
        for key, (what, default) in _COMMON.items():
            one, other = first.get(key, default), panel.get(key, default)
            if np.shape(one) != np.shape(other) or not np.allclose(one, other, rtol=_SAME, atol=0.0):
                raise NumbraggError(
                    f"{_title(panels, 0)} and {_title(panels, number)} differ in {what} ({one} and {other}); "
                    "panels that agree are supported"
                )
        if _has_parallax(panel) != _has_parallax(first):
            raise NumbraggError(f"{_title(panels, 0)} and {_title(panels, number)} differ in parallax")
    return first, min(float(panel["trusted_range"][1]) for panel in panels)


def _title(panels: Sequence[dict[str, Any]], number: int) -> str:
    name = str(panels[number].get("name", NO_NAME))
    return f"panel {number}" if name in ("", NO_NAME) else f"panel {number} ({name})"


def _has_parallax(panel: dict[str, Any]) -> bool:
    return bool(panel.get("px_mm_strategy", {}).get("type") == "ParallaxCorrectedPxMmStrategy")


def _placed(detector: dict[str, Any]) -> list[Panel]:
    """The panels with their places: their own frames within those of the groups above them."""
    panels = detector["panels"]
    places: dict[int, Frame] = {}
    laboratory = (np.zeros(3), np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    root = detector.get("hierarchy")
    # A list of what is still to be placed: groups may lie deeper than functions can call themselves.
    roots = [{"panel": number} for number in range(len(panels))] if root is None else [root]
    waiting: list[tuple[dict[str, Any], Frame]] = [(node, laboratory) for node in roots]
    while waiting:
        node, outer = waiting.pop()
        if "panel" in node:
            number = int(node["panel"])
            if number in places or number < 0:
                raise ValueError(f"panel {number} stands twice among the groups")
            places[number] = _within(outer, panels[number])
        else:
            inner = _within(outer, node)
            waiting.extend((child, inner) for child in node.get("children", []))
    if len(places) != len(panels):
        missing = next(number for number in range(len(panels)) if number not in places)
        raise NumbraggError(f"{_title(panels, missing)} stands in no group")
    placed = []
    for number, panel in enumerate(panels):
        origin, fast, slow = places[number]
        name = str(panel.get("name", ""))
        placed.append(Panel(origin=origin, fast_axis=fast, slow_axis=slow, name="" if name == NO_NAME else name))
    return placed


def _within(outer: Frame, frame: dict[str, Any]) -> Frame:
    """The frame of a panel or a group, given in that of the group above it."""
    origin, fast, slow = outer
    turn = np.stack([fast, slow, np.cross(fast, slow)], axis=1)
    shift = np.array(frame["origin"], dtype=float)
    if shift.shape != (3,):
        raise NumbraggError(f"an origin is no vector of three numbers: {frame['origin']}")
    return origin + turn @ shift, turn @ _unit(frame["fast_axis"]), turn @ _unit(frame["slow_axis"])


def _unit(vector: Any) -> npt.NDArray[np.float64]:
    values = np.array(vector, dtype=float)
    length = float(np.linalg.norm(values))
    if values.shape != (3,) or not 0 < length < np.inf:
        raise NumbraggError(f"a direction is no vector of three numbers: {vector}")
    return np.asarray(values / length)


def _matrix(entries: Any) -> npt.NDArray[np.float64]:
    return np.array(entries, dtype=float).reshape(3, 3)


def _spindle(goniometer: dict[str, Any]) -> npt.NDArray[np.float64]:
    if "axes" in goniometer:
        axes, angles = np.array(goniometer["axes"], dtype=float), np.array(goniometer["angles"], dtype=float)
        number = int(goniometer["scan_axis"])
        if np.any(np.delete(angles, number)):
            raise NumbraggError("a goniometer with several axes that are not at 0 is not supported")
        return _unit(axes[number])
    return _unit(_matrix(goniometer.get("setting_rotation", _IDENTITY)) @ np.array(goniometer["rotation_axis"]))


def _cell_axes(crystal: dict[str, Any], goniometer: dict[str, Any] | None) -> npt.NDArray[np.float64]:
    """Direct vectors in the laboratory at phi = 0."""
    axes = np.array([crystal[f"real_space_{axis}"] for axis in "abc"], dtype=float)
    if goniometer is None or "axes" in goniometer:
        return axes
    fixed, setting = (_matrix(goniometer.get(f"{kind}_rotation", _IDENTITY)) for kind in ("fixed", "setting"))
    return np.asarray(axes @ fixed.T @ setting.T)


def _space_group(crystal: dict[str, Any]) -> str:
    hall = str(crystal.get("space_group_hall_symbol", "P 1")).strip()
    operations = gemmi.symops_from_hall(hall)
    group = gemmi.find_spacegroup_by_ops(operations)
    return "P 1" if group is None else str(group.xhm())
