"""Scenes that are measured, as flags of nanoBragg: the one interface that all revisions share.

Scenes are only ever appended. A changed one would cut the history that asv keeps in two.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TABLE = "table.hkl"
"""About 64 000 made-up amplitudes, in the folder of the inputs."""

LONG_TABLE_ROWS = 1_000_000
REACH = (23.5, 31.5, 20.5)
"""Half axes of the ellipsoid of indices in TABLE."""


class Scene(NamedTuple):
    """A detector and the flags of everything else."""

    fast: int
    slow: int
    pixel: float  # mm
    evaluations: int  # per pixel: phi steps x domains x sources x sub-pixels x layers
    flags: str


_PROTEIN = f"-hkl {TABLE} -cell 27 32 34 88 108 112 -misset 11 -27 63 -oversample 1 -lambda 0.9768"
_TEN_PHI = "-phi 0 -osc 0.1 -phisteps 10"
_LAB = "-spindle_axis -1 0 0 -beam_vector 0.00051387949 0 -0.99999986 -fdet_vector 0.999982 -0.005998 -0.000118 "
_LAB += "-sdet_vector -0.005998 -0.999970 -0.004913 -odet_vector -0.000088 0.004914 -0.999988 "
_LAB += "-Xbeam 217.742295 -Ybeam 213.907080 -distance 231.274660 -exposure 1 -flux 1e18 -beamsize 1.0"
_CUBIC = "-default_F 100 -cell 100 100 100 90 90 90 -N 5 -lambda 1 -distance 100 -oversample 1"
_SMALL = f"{_PROTEIN} -Na 12 -Nb 10 -Nc 9 -distance 120"

SCENES = {
    "pilatus6m": Scene(2463, 2527, 0.172, 10, f"{_PROTEIN} {_LAB} {_TEN_PHI} -Na 36 -Nb 47 -Nc 29"),
    "cubic": Scene(512, 512, 0.2, 1, _CUBIC),
    "square": Scene(1024, 1024, 0.2, 10, f"{_SMALL} {_TEN_PHI} -square_xtal"),
    "round": Scene(1024, 1024, 0.2, 10, f"{_SMALL} {_TEN_PHI} -round_xtal"),
    "gauss": Scene(1024, 1024, 0.2, 10, f"{_SMALL} {_TEN_PHI} -gauss_xtal"),
    "tophat": Scene(1024, 1024, 0.2, 10, f"{_SMALL} {_TEN_PHI} -tophat_spots"),
    "sources50": Scene(512, 512, 0.4, 50, f"{_SMALL} -dispersion 1 -dispsteps 50"),
    "mosaic50": Scene(512, 512, 0.4, 50, f"{_SMALL} -mosaic 0.5 -mosaic_domains 50"),
    "oversample3": Scene(1024, 1024, 0.2, 9, f"{_SMALL} -oversample 3"),
    "absorption": Scene(1024, 1024, 0.2, 5, f"{_SMALL} -detector_abs 300 -detector_thick 450 -detector_thicksteps 5"),
    "tricubic": Scene(512, 512, 0.4, 4, f"{_SMALL} -phi 0 -osc 0.1 -phisteps 4 -interpolate"),
    "curved": Scene(1024, 1024, 0.2, 1, f"{_SMALL} -curved_det"),
    "sixteen": Scene(4096, 4096, 0.05, 1, _CUBIC),
}


def scene_flags(name: str, *, shrink: int = 1, extra: str = "") -> list[str]:
    """Words of a scene. ``shrink`` takes so many times fewer, larger pixels along each edge; ``extra`` flags win."""
    scene = SCENES[name]
    detector = f"-detpixels_x {scene.fast // shrink} -detpixels_y {scene.slow // shrink} -pixel {scene.pixel * shrink}"
    return f"{scene.flags} {detector} {extra}".split()


def source_flags(sources: int) -> str:
    """Flags of so many wavelengths; a range with one step would be sampled in two."""
    return f"-dispersion {int(sources > 1)} -dispsteps {sources}"


def evaluations(name: str, *, shrink: int = 1) -> int:
    """Evaluations of the lattice factor in a whole image."""
    scene = SCENES[name]
    return (scene.fast // shrink) * (scene.slow // shrink) * scene.evaluations


def experiment(name: str, *, compat: str = "spec", shrink: int = 1, extra: str = "") -> Any:
    """Experiment of a scene; NotImplementedError, which asv takes as a skip, where the revision has no flags."""
    parse_flags = public("parse_flags")
    with contextlib.chdir(inputs()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_flags(scene_flags(name, shrink=shrink, extra=extra), compat)


def public(name: str) -> Any:
    """A public name of numbragg; NotImplementedError where the revision does not have it."""
    try:
        return getattr(importlib.import_module("numbragg"), name)
    except (ImportError, AttributeError):
        raise NotImplementedError(f"this revision has no numbragg.{name}") from None


def precision(name: str) -> dict[str, str]:
    """Keywords of ``simulate`` for a precision; NotImplementedError where the revision has no choice."""
    if "precision" in inspect.signature(public("simulate")).parameters:
        return {"precision": name}
    if name == "double":
        return {}
    raise NotImplementedError(f"this revision has no precision {name}")


def in_strips(scene: Any, count: int) -> Any:
    """The same detector as so many panels, one above the other; NotImplementedError where a revision has one panel."""
    panel, detector = public("Panel"), scene.detector
    rows = detector.n_slow // count
    corners = np.arange(count)[:, None] * [0.0, rows * detector.pixel_size, 0.0]
    strips = tuple(panel(origin=corner, fast_axis=np.eye(3)[0], slow_axis=np.eye(3)[1]) for corner in corners)
    return dataclasses.replace(scene, detector=dataclasses.replace(detector, n_slow=rows, panels=strips))


def inputs() -> Path:
    """Folder with the files that the scenes name; it goes when the process ends."""
    return Path(_folder().name)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="numbragg-bench-")
    _write_table(Path(folder.name) / TABLE)
    return folder


def _write_table(path: Path) -> None:
    reach = [int(half) for half in REACH]
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[((hkl / np.array(REACH)) ** 2).sum(axis=1) <= 1.0]
    amplitudes = np.random.default_rng(6).gamma(2.0, 50.0, len(hkl))
    np.savetxt(path, np.column_stack([hkl, amplitudes]), fmt="%d %d %d %.3f")


def long_table(rows: int = LONG_TABLE_ROWS) -> Path:
    """A text table of many rows, written once."""
    path = inputs() / f"{rows}.hkl"
    if not path.exists():
        number = np.arange(rows)
        columns = [number // 10000 - 50, number // 100 % 100 - 50, number % 100 - 50]
        amplitudes = np.random.default_rng(7).gamma(2.0, 50.0, rows)
        np.savetxt(path, np.column_stack([*columns, amplitudes]), fmt="%4d %4d %4d %.4f")
    return path


def noise_means(slow: int = 2527, fast: int = 2463) -> Any:
    """Mean photons of an image with background and a few spots, float64 (slow, fast)."""
    generator = np.random.default_rng(8)
    means = generator.uniform(0.5, 8.0, (slow, fast))
    means.ravel()[generator.integers(0, means.size, means.size // 500)] *= 200.0
    return means
