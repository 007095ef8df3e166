"""Traces as text and JSON, and the first quantity in which two of them differ (specs/80-trace.md)."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file

Trace = dict[str, Any]
Value = float | list[float]

LISTS = ("sub_pixels", "sources", "terms")
"""The parts of a trace that hold one record for each sub-pixel, source or term."""

INDEX = ("layer", "sub_slow", "sub_fast", "source", "phi_tic", "domain")
"""What tells the records of a list apart."""

COMPONENTS = {"h_frac": 0, "k_frac": 1, "l_frac": 2}
"""Single indices, as the lines of a phi step give them: components of ``hkl_frac``."""

MAX_TRACE_BYTES = 1 << 30
"""A file above this is no trace."""


class Tolerance(NamedTuple):
    """How far two traces may be apart: ``absolute + relative * |other|``, of a vector its length."""

    relative: float
    absolute: float
    reason: str


EXACT = Tolerance(0.0, 0.0, "counts, switches and whole indices are the same or they are not")
GEOMETRY = Tolerance(1e-12, 0.0, "some ten operations on doubles, of a vector relative to its length")
COSINE = Tolerance(0.0, 1e-12, "of order one; may be small itself")
INDICES = Tolerance(1e-12, 1e-11, "products of axes and scattering vectors far larger than the index")
ALONG_AXIS = Tolerance(1e-9, 1e-9, "sin(pi N h) loses the digits that pi N h has before the point, up to six")
LATTICE = Tolerance(
    1e-8, 1e-6, "product of three factors along the axes; near a zero of one the others enlarge its error"
)
AMPLITUDE = Tolerance(1e-10, 1e-10, "a table entry, or its interpolation at inexact indices")
INTENSITY = Tolerance(1e-8, 0.0, "square of the lattice factor, summed")
SINGLE = Tolerance(1.2e-7, 0.0, "one unit in the last place of a float32")

TOLERANCES: Mapping[str, Tolerance] = {
    **dict.fromkeys(("pixel_slow_fast", "hkl_rounded", "steps", "culled", "interpolated"), EXACT),
    **dict.fromkeys(("inherited_phi_tic", "axes_phi_tic", *INDEX), EXACT),
    **dict.fromkeys(("oversample_thick", "oversample_polar", "oversample_omega"), EXACT),
    **dict.fromkeys(("pix0_vector_meters", "fdet_vec", "sdet_vec", "odet_vec", "pixel_pos_meters"), GEOMETRY),
    **dict.fromkeys(("R_distance_meters", "omega_pixel_sr", "close_distance_meters", "omega_pixel"), GEOMETRY),
    **dict.fromkeys(("diffracted_vec", "incident_vec", "lambda_meters", "lambda_angstroms", "weight"), GEOMETRY),
    **dict.fromkeys(("rot_a_angstroms", "rot_b_angstroms", "rot_c_angstroms"), GEOMETRY),
    **dict.fromkeys(("rot_a_star_A_inv", "rot_b_star_A_inv", "rot_c_star_A_inv"), GEOMETRY),
    **dict.fromkeys(("r_e_meters", "r_e_sqr", "fluence_photons_per_m2"), GEOMETRY),
    **dict.fromkeys(("obliquity_factor", "cos_2theta", "polar", "capture_fraction"), COSINE),
    "phi_deg": Tolerance(1e-12, 1e-12, "start and step in degrees and back from radians"),
    "scattering_vec_A_inv": Tolerance(1e-11, 0.0, "difference of two unit vectors, which cancels near the beam"),
    **dict.fromkeys(("hkl_frac", *COMPONENTS), INDICES),
    **dict.fromkeys(("F_latt_a", "F_latt_b", "F_latt_c"), ALONG_AXIS),
    "F_latt": LATTICE,
    "F_cell": AMPLITUDE,
    "term": Tolerance(1e-7, 1e-4, "as F_latt, squared, times F_cell squared"),
    "running_sum": Tolerance(1e-7, 1e-4, "as a term: it begins with one"),
    **dict.fromkeys(("I_before_scaling", "I_captured", "I_background", "I_pixel_final"), INTENSITY),
    "floatimage_accumulated": SINGLE,
}
"""Tolerance of each quantity; a name that is missing is compared like the geometry."""


class Divergence(NamedTuple):
    """The first quantity in which two traces differ."""

    name: str
    ours: Value
    other: Value
    difference: float
    tolerance: Tolerance

    def __str__(self) -> str:
        """Return one line with both values."""
        allowed = f"relative {self.tolerance.relative:g}, absolute {self.tolerance.absolute:g}"
        return (
            f"{self.name}: {_words(self.ours)} here, {_words(self.other)} there; difference {self.difference:.3g}, "
            f"allowed {allowed} ({self.tolerance.reason})"
        )


def format_trace(trace: Trace) -> str:
    """Write a trace as lines ``name value...`` with 15 significant digits.

    The records of the lists follow at the end, numbered: ``terms[3].F_latt -2.38319665299058``.
    """
    lines = [f"{name} {_words(value)}" for name, value in trace.items() if name not in LISTS]
    for name in LISTS:
        for i, record in enumerate(trace.get(name, [])):
            lines += [f"{name}[{i}].{key} {_words(value)}" for key, value in record.items()]
    return "\n".join(lines) + "\n"


def trace_to_json(trace: Trace) -> str:
    """Write a trace as a JSON object, every double with all its digits."""
    return json.dumps(trace, indent=1) + "\n"


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a trace: JSON, the lines of `format_trace`, or a log with lines ``TRACE_C: name value...``.

    Parameters
    ----------
    path
        The file. In a log whatever is not such a line is passed over, and so are all lines without the prefix; the
        first of several lines with the same name counts. ``TRACE_C_PHI phi_tic=0 k_frac=1.5 ...`` gives a term.

    Returns
    -------
    dict
        Numbers, lists of numbers, and lists of dicts under ``sub_pixels``, ``sources`` and ``terms``.

    Raises
    ------
    NumbraggError
        The file cannot be read, or holds no quantity.

    Notes
    -----
    Source: ``specs/80-trace.md``, clauses 80.12 to 80.14.
    """
    source = input_file(path)
    try:
        if source.stat().st_size > MAX_TRACE_BYTES:
            raise NumbraggError(f"cannot read {source}: a trace is not that large")
        text = source.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise NumbraggError(f"cannot read {source}: {error.strerror or error}") from error
    found = _from_json(text, str(source)) if text.lstrip().startswith("{") else _from_lines(text)
    if not found:
        raise NumbraggError(
            f"cannot read {source}: it holds no trace (lines 'name value', 'TRACE_C: name value', or JSON)"
        )
    return found


def compare_traces(ours: Trace, other: Trace, tolerances: Mapping[str, Tolerance] = TOLERANCES) -> Divergence | None:
    """Find the first quantity, in the order of the chain, in which two traces differ.

    Parameters
    ----------
    ours
        As of `numbragg.tracing.trace`: its order is the order of the chain.
    other
        As of `read_trace`. Names that only one trace has are passed over; records are matched by their indices, of
        which a missing one counts as 0.
    tolerances
        By name of the quantity.

    Raises
    ------
    NumbraggError
        The traces have no name in common.
    """
    compared = False
    for name, mine, theirs in common_quantities(ours, other):
        compared = True
        tolerance = tolerances.get(name.rpartition(".")[2], GEOMETRY)
        difference = _distance(mine, theirs)
        if not difference <= tolerance.absolute + tolerance.relative * _size(theirs):
            return Divergence(name, mine, theirs, difference, tolerance)
    if not compared:
        raise NumbraggError("the traces have no quantity in common")
    return None


def common_quantities(ours: Trace, other: Trace) -> Iterator[tuple[str, Value, Value]]:
    """Yield the name and both values of each quantity that two traces share, in the order of the first."""
    for name, value in ours.items():
        if name not in LISTS:
            if name in other:
                yield name, value, other[name]
            continue
        theirs: dict[tuple[float, ...], Trace] = {}
        for record in other.get(name, []):
            theirs.setdefault(_index(record), record)
        for i, record in enumerate(value):
            match = theirs.get(_index(record), {})
            for key, mine in _with_components(record):
                if key in match and key not in INDEX:
                    yield f"{name}[{i}].{key}", mine, match[key]


def _with_components(record: Trace) -> Iterator[tuple[str, Value]]:
    for key, value in record.items():
        yield key, value
        if key == "hkl_frac":
            yield from ((name, value[place]) for name, place in COMPONENTS.items() if len(value) == len(COMPONENTS))


def _index(record: Trace) -> tuple[float, ...]:
    return tuple(record[name] if _is_number(record.get(name)) else 0 for name in INDEX)


def _components(value: Value) -> list[float]:
    return value if isinstance(value, list) else [value]


def _distance(mine: Value, theirs: Value) -> float:
    a, b = _components(mine), _components(theirs)
    if len(a) != len(b):
        return math.inf
    return math.hypot(*(0.0 if x == y or (x != x and y != y) else x - y for x, y in zip(a, b, strict=True)))


def _size(value: Value) -> float:
    length = math.hypot(*(_components(value)))
    # Where both are infinite or neither is a number the distance is 0; otherwise it must not be forgiven.
    return length if math.isfinite(length) else 0.0


def _words(value: Any) -> str:
    return " ".join(str(x) if isinstance(x, int) else f"{x:.15g}" for x in _components(value))


# Reading.

_PREFIXED = re.compile(r"\s*TRACE_\w*:?\s+(.*)")
_NAMED = re.compile(r"\s*(?:(\w+)\[(\d{1,7})\]\.)?([A-Za-z_]\w*):?\s+(\S.*)")
_PAIR = re.compile(r"([A-Za-z_]\w*)=(\S+)")


def _from_lines(text: str) -> Trace:
    lines = text.splitlines()
    prefixed = [match.group(1) for line in lines if (match := _PREFIXED.match(line))]
    found: Trace = {}
    numbered: dict[tuple[str, int], Trace] = {}
    for line in prefixed or lines:
        pairs = {name: number for name, word in _PAIR.findall(line) if (number := _number(word)) is not None}
        if "phi_tic" in pairs:
            found.setdefault("terms", []).append(pairs)
        elif match := _NAMED.fullmatch(line):
            part, place, name, words = match.groups()
            values = [_number(word) for word in words.split()]
            if None in values or part not in (None, *LISTS):
                continue
            target = numbered.setdefault((part, int(place)), {}) if part else found
            target.setdefault(name, values[0] if len(values) == 1 else values)
    for (part, _), record in sorted(numbered.items()):
        found.setdefault(part, []).append(record)
    return found


def _number(word: str) -> float | None:
    try:
        return int(word) if len(word) < 16 else float(word)
    except ValueError:
        try:
            return float(word)
        except ValueError:
            return None


def _from_json(text: str, source: str) -> Trace:
    try:
        data = json.loads(text, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise NumbraggError(f"cannot read {source}: not JSON ({error})") from None
    if "phi" in data:
        data["terms"] = data.get("terms", data["phi"])
    found: Trace = {}
    for name, value in data.items():
        if name in LISTS and isinstance(value, list):
            found[name] = [_numbers_of(record) for record in value if isinstance(record, dict)]
    return {**_numbers_of(data), **{name: records for name, records in found.items() if any(records)}}


def _numbers_of(record: Mapping[str, Any]) -> Trace:
    """Keep the numbers and the lists of numbers."""
    return {
        name: value
        for name, value in record.items()
        if name not in LISTS
        and (_is_number(value) or (isinstance(value, list) and value and all(map(_is_number, value))))
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
