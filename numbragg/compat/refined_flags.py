"""The flags of a refined experiment, from those of its start (specs/55-refinement.md, 55.48)."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from numbragg.compat.flags import match_flags
from numbragg.geometry.cell import direct_vectors, reciprocal
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import reflection_index

N_CELLS = (
    "n_cells",
    "n_cells_a",
    "n_cells_b",
    "n_cells_c",
    "samplesize",
    "samplesize_x",
    "samplesize_y",
    "samplesize_z",
)
NEAR_POINT = ("xbeam", "ybeam", "xclose", "yclose", "orgx", "orgy", "pivot")
ROTATION = ("phi", "osc", "phistep", "phisteps")
MOSAIC = ("mosaic_spread", "mosaic_domains")
REPLACED: dict[str, tuple[str, ...]] = {
    "cell": ("cell", "mat"),
    "misset": ("misset", "misset_seed"),
    "n_cells": N_CELLS,
    "mosaic.spread": MOSAIC,
    "crystal.fudge": ("fudge",),
    "phi": ROTATION,
    "detector.distance": ("distance", "close_distance"),
    "detector.beam": NEAR_POINT,
    "detector.rot_x": ("detector_rotx",),
    "detector.rot_y": ("detector_roty",),
    "detector.rot_z": ("detector_rotz",),
    "detector.twotheta": ("twotheta",),
    "beam.wavelength": ("lambda", "energy"),
    "beam.polarization": ("polar",),
    "beam.fluence": ("fluence", "flux", "exposure"),
    "table": ("hkl", "hklcolumn", "dump"),
    "sampling": ("oversample", "interpolate", "nointerpolate"),
}
"""Flags that a group of parameters takes the place of."""


def refined_flags(
    words: Sequence[str], refined: Experiment, names: Iterable[str], *, matrix: str, table: str, keep_table: bool = True
) -> list[str]:
    """Write the flags that give a refined experiment.

    Parameters
    ----------
    words
        Flags of the start, mode ``spec``, without long options.
    refined
        The experiment they are to give.
    names
        Parameters of it that the flags of the start do not give.
    matrix
        File that will hold `matrix_text`, where the flags cannot hold cell and orientation: a crystal whose
        orientation came from a file.
    table
        File that will hold the table of structure factors, as `numbragg.io.fdump.write_fdump` writes it, where one of
        them was refined or ``keep_table`` is False.
    keep_table
        The start's own file gives the same table again.

    Returns
    -------
    list of str
        Words for ``numbragg simulate``; numbers have all their digits.
    """
    groups = {_group(name) for name in names} | {"sampling"}
    turned = needs_matrix(refined)
    if turned and "beam.wavelength" in groups:
        # A matrix file holds the wavelength.
        groups.add("cell")
    occurrences = match_flags(words, "spec")
    if any(found.values == ("random",) for found in occurrences):
        groups.add("misset")
    if not keep_table and refined.crystal.structure_factors is not None:
        groups |= {"table", "cell"}
    replaced = {key for group in groups for key in REPLACED.get(group, ())}
    ends = [*(found.position for found in occurrences[1:]), len(words)]
    kept = [
        word
        for found, end in zip(occurrences, ends, strict=True)
        if found.flag.key not in replaced
        for word in words[found.position : end]
    ]
    added = [word for group in REPLACED if group in groups for word in _flags(group, refined, matrix, table)]
    return [*kept, *added]


def needs_matrix(experiment: Experiment) -> bool:
    """Whether cell and misset do not say all of the orientation."""
    return not np.array_equal(np.real(experiment.crystal.orientation), np.eye(3))


def matrix_text(experiment: Experiment) -> str:
    """Cell and orientation before the misset as a MOSFLM matrix (specs/30-formats.md, 30.50)."""
    crystal = experiment.crystal
    axes = direct_vectors(crystal.cell) @ np.asarray(crystal.orientation).T
    columns = np.real(reciprocal(axes)).T * float(np.real(experiment.beam.wavelength))
    return "\n".join(" ".join(f"{number:.17g}" for number in row) for row in columns) + "\n"


def _group(name: str) -> str:
    """Group of flags that a parameter is given by."""
    if reflection_index(name) is not None:
        return "table"
    owner = name.partition(".")[0]
    if owner in ("cell", "misset", "n_cells", "phi"):
        return owner
    return "detector.beam" if name.startswith("detector.beam_") else name


def _flags(group: str, refined: Experiment, matrix: str, table: str) -> list[str]:
    crystal, beam, detector = refined.crystal, refined.beam, refined.detector
    sampling = refined.scan.sampling
    n_cells = zip(("-Na", "-Nb", "-Nc"), crystal.n_cells, strict=True)
    given: dict[str, list[Any]] = {
        "cell": ["-mat", matrix] if needs_matrix(refined) else ["-cell", *crystal.cell],
        "misset": ["-misset", *crystal.misset],
        "n_cells": [word for pair in n_cells for word in pair],
        "mosaic.spread": ["-mosaic", crystal.mosaic_spread, "-mosaic_dom", crystal.mosaic_domains],
        "crystal.fudge": ["-fudge", crystal.fudge],
        "phi": ["-phi", refined.scan.start, "-osc", sampling.range, "-phistep", sampling.spacing,
                "-phisteps", sampling.count],
        "detector.distance": ["-distance", detector.distance],
        # The near point is written as it is, whatever the convention counts from.
        "detector.beam": ["-Xclose", detector.beam_fast, "-Yclose", detector.beam_slow, "-pivot", detector.pivot],
        "detector.rot_x": ["-detector_rotx", detector.rot_x],
        "detector.rot_y": ["-detector_roty", detector.rot_y],
        "detector.rot_z": ["-detector_rotz", detector.rot_z],
        "detector.twotheta": ["-twotheta", detector.twotheta],
        "beam.wavelength": ["-lambda", beam.wavelength],
        "beam.polarization": ["-polar", beam.polarization],
        "beam.fluence": ["-fluence", beam.fluence],
        "table": ["-dump", table],
        "sampling": _sampling(refined),
    }  # fmt: skip
    return [word if isinstance(word, str) else _number(word) for word in given[group]]


def _sampling(refined: Experiment) -> list[Any]:
    words: list[Any] = [] if refined.oversample is None else ["-oversample", refined.oversample]
    if refined.crystal.structure_factors is not None and refined.crystal.interpolate is not None:
        words.append("-interpolate" if refined.crystal.interpolate else "-nointerpolate")
    return words


def _number(value: Any) -> str:
    return repr(int(value)) if isinstance(value, int | np.integer) else repr(float(np.real(value)))
