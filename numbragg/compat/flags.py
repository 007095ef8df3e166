"""From the words of the command line to typed flags, in mode ``spec`` and in mode ``c``.

Nothing here knows physics: an `Occurrence` carries the values as the user wrote them, in the unit of its flag.
Rules: ``specs/20-command-line.md``.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from numbragg.compat.flag_help import format_help
from numbragg.compat.flag_table import FLAG_OF_NAME, FLAGS, Flag, Kind, nearest_name, plain, shown
from numbragg.compat.options import LONG_OPTIONS, split_options
from numbragg.errors import NumbraggError, NumbraggWarning

__all__ = ["Occurrence", "check_contradictions", "format_help", "match_flags", "split_options"]

Value = float | int | str

_ALL_NAMES = [*FLAG_OF_NAME, *(option.name for option in LONG_OPTIONS)]
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_LARGEST_INT = 2**31 - 1
_INTS = {Kind.INT, Kind.FAST_SLOW, Kind.SLOW_FAST, Kind.ROI}
_WORDS = {Kind.PATH, Kind.LABEL}
_INFINITE = {"inf", "infinite", "infinity"}
_RANDOM = {"rand", "random"}


@dataclass(frozen=True)
class Occurrence:
    """A flag as it stands on the command line.

    Attributes
    ----------
    flag : Flag
        The row of the table.
    token : str
        The word that triggered it, as written.
    values : tuple of float, int or str
        In the unit of the flag. Empty for a switch. ``-misset random`` gives ``("random",)``, ``-pivot`` gives
        ``"sample"`` or ``"beam"``, ``-detector_abs`` gives infinity for ``inf`` and for 0. ``-cell`` gives six
        numbers; in mode ``c`` it may give fewer (clause 20.14).
    position : int
        Index of `token` in argv.
    """

    flag: Flag
    token: str
    values: tuple[Value, ...]
    position: int

    def __str__(self) -> str:
        """Return the flag and its values as they could be typed."""
        values = (plain(value) if isinstance(value, str) else f"{value:.12g}" for value in self.values)
        return " ".join([plain(self.token), *values])


def match_flags(argv: Sequence[str], compat: Literal["spec", "c"]) -> list[Occurrence]:
    """Turn the words of a command line into flags with typed values.

    Parameters
    ----------
    argv : sequence of str
        The words behind the program's name, without long options (`split_options` takes those out).
    compat : {"spec", "c"}
        ``spec``: exact names, and everything that is not understood is an error. ``c``: the matching of
        nanoBragg.c, where a word may trigger several flags and is otherwise ignored (Q18 to Q20).

    Returns
    -------
    list of Occurrence
        In the order of argv; flags triggered by the same word in the order in which they are tried. Where several set
        the same thing the last one holds.

    Raises
    ------
    NumbraggError
        A value is not a finite number; in mode ``spec`` also for an unknown flag, a missing value or a stray word.

    Notes
    -----
    A `NumbraggWarning` names flags that are given twice with different values (spec) and words that mode ``c`` ignores.
    Source: ``specs/20-command-line.md``, clauses 20.4 to 20.9 (spec) and 20.10 to 20.17 (c).
    """
    return _match_spec(argv) if compat == "spec" else _match_c(argv)


def _match_spec(argv: Sequence[str]) -> list[Occurrence]:
    found: list[Occurrence] = []
    earlier: dict[str, Occurrence] = {}
    position = 0
    while position < len(argv):
        token = argv[position]
        flag = FLAG_OF_NAME.get(token)
        if flag is None:
            raise _not_a_flag(token, found)
        values, used = _values_spec(flag, token, argv[position + 1 : position + 1 + max(flag.kind.count, 1)])
        new = Occurrence(flag, token, values, position)
        old = earlier.get(flag.key)
        if old is not None and old.values != values:
            warnings.warn(f"{new} replaces the earlier {old}", NumbraggWarning, stacklevel=3)
        earlier[flag.key] = new
        found.append(new)
        position += 1 + used
    return found


def _not_a_flag(token: str, found: Sequence[Occurrence]) -> NumbraggError:
    if _looks_like_a_flag(token):
        return NumbraggError(f"unknown flag {plain(token)}{nearest_name(token, _ALL_NAMES)}")
    if not found:
        return NumbraggError(f"stray value {shown(token)}: the command line begins with a flag, such as -cell or -hkl")
    last = found[-1]
    return NumbraggError(f"stray value {shown(token)} after {last}: {last.token} takes {_wanted(last.flag)}")


def _looks_like_a_flag(word: str) -> bool:
    return word.startswith("-") and not _NUMBER.fullmatch(word)


def _wanted(flag: Flag) -> str:
    kind = flag.kind
    if kind is Kind.CURVED:
        return "no value, or 1"
    if kind.count == 0:
        return "no value"
    if kind is Kind.PATH:
        return "a file name"
    if kind is Kind.LABEL:
        return "a label"
    if kind is Kind.PIVOT:
        return "sample or beam"
    unit = f" ({flag.unit})" if flag.unit else ""
    number = "whole number" if kind in _INTS else "number"
    if kind is Kind.DEPTH:
        return f"a number or inf{unit}"
    if kind is Kind.MISSET:
        return f"3 numbers{unit} or the word random"
    if kind.count == 1:
        return f"a {number}{unit}"
    return f"{kind.count} {number}s, {kind.placeholder}{unit}"


def _values_spec(flag: Flag, token: str, following: Sequence[str]) -> tuple[tuple[Value, ...], int]:
    """Return the values of a flag and the number of words they take; `following` may hold one word for a switch."""
    kind = flag.kind
    if kind.count == 0:
        return (), int(kind is Kind.CURVED and list(following) == ["1"])
    if kind is Kind.MISSET and following and following[0] in _RANDOM:
        return ("random",), 1
    values: list[Value] = []
    for word in following:
        if word in FLAG_OF_NAME or (kind in _WORDS and _looks_like_a_flag(word)):
            raise _too_few(flag, token, len(values), f"the flag {shown(word)} follows")
        values.append(_value(flag, token, word, _whole))
    if len(values) < kind.count:
        raise _too_few(flag, token, len(values), "the command line ends")
    return tuple(values), kind.count


def _value(flag: Flag, token: str, word: str, integer: Callable[[Flag, str, str], int]) -> Value:
    kind = flag.kind
    if kind in _WORDS:
        if word == "" or "\0" in word:
            raise _unreadable(flag, token, word)
        return word
    if kind is Kind.PIVOT:
        if word.lower() not in ("sample", "beam"):
            raise _unreadable(flag, token, word)
        return word.lower()
    if kind is Kind.DEPTH:
        return math.inf if word.lower() in _INFINITE else _finite(flag, token, word) or math.inf
    # Fractions of a cell are an idea of mode spec: nanoBragg.c counts whole ones.
    whole = kind in _INTS or (kind is Kind.COUNT and integer is _leading_integer)
    return integer(flag, token, word) if whole else _finite(flag, token, word)


def _too_few(flag: Flag, token: str, read: int, what: str) -> NumbraggError:
    where = f" after {read} of them" if read else ""
    return NumbraggError(f"{token} takes {_wanted(flag)}, but {what}{where}")


def _unreadable(flag: Flag, token: str, word: str) -> NumbraggError:
    return NumbraggError(f"{plain(token)} takes {_wanted(flag)}, not {shown(word)}")


def _finite(flag: Flag, token: str, word: str) -> float:
    if not _NUMBER.fullmatch(word) or not math.isfinite(float(word)):
        raise _unreadable(flag, token, word)
    return float(word)


def _whole(flag: Flag, token: str, word: str) -> int:
    """Read an integer; 5.0 and 1e3 are whole numbers too."""
    number = _finite(flag, token, word)
    if number != int(number):
        raise _unreadable(flag, token, word)
    return _in_range(token, word, int(number))


def _leading_integer(flag: Flag, token: str, word: str) -> int:
    """Read an integer as C's atoi does, which stops at the first character that is not a digit."""
    number = _finite(flag, token, word)
    digits = _INTEGER.match(word)
    value = int(float(digits.group())) if digits else 0
    if value != number:
        warnings.warn(
            f"{plain(token)} {plain(word)} is read as {value}, as nanoBragg.c does", NumbraggWarning, stacklevel=2
        )
    return _in_range(token, word, value)


def _in_range(token: str, word: str, value: int) -> int:
    if abs(value) > _LARGEST_INT:
        raise NumbraggError(f"{plain(token)} takes whole numbers up to {_LARGEST_INT}, not {shown(word)}")
    return value


def _match_c(argv: Sequence[str]) -> list[Occurrence]:
    found: list[Occurrence] = []
    values_end = 0
    for position, token in enumerate(argv):
        if not token.startswith("-"):
            continue
        triggered = list(_triggered(token, argv[position + 1 : position + 7]))
        found += [Occurrence(flag, token, values, position) for flag, values in triggered]
        if triggered:
            values_end = max(values_end, *(position + 1 + len(values) for _, values in triggered))
        elif position >= values_end and _looks_like_a_flag(token):
            warnings.warn(_why_ignored(token), NumbraggWarning, stacklevel=3)
    return found


def _why_ignored(token: str) -> str:
    if any(rule.matches(token) for flag in FLAGS for rule in flag.c):
        return f"{plain(token)} is ignored, as nanoBragg.c does: its values are missing or unknown"
    return f"{plain(token)} is ignored, as nanoBragg.c does{nearest_name(token, _ALL_NAMES)}"


def _triggered(token: str, following: Sequence[str]) -> Iterator[tuple[Flag, tuple[Value, ...]]]:
    """Try one word against all flags in turn; the next six words are enough for any flag."""
    for flag in FLAGS:
        rule = next((rule for rule in flag.c if rule.matches(token)), None)
        values = _values_c(flag, token, following) if rule else None
        if rule is None or values is None:
            continue
        yield flag, values
        cut_short = flag.kind in (Kind.MISSET, Kind.CELL) and len(values) < flag.kind.count
        if rule.stops or cut_short:
            return


def _values_c(flag: Flag, token: str, following: Sequence[str]) -> tuple[Value, ...] | None:
    """Return the values that nanoBragg.c reads, or None where the flag does nothing."""
    kind, first = flag.kind, following[0] if following else None
    if kind is Kind.SWITCH:
        return ()
    if first is None:
        return None
    if kind is Kind.CURVED:
        return ()
    if kind is Kind.CELL:
        end = next((i for i, word in enumerate(following) if word.startswith("-")), len(following))
        return tuple(_finite(flag, token, word) for word in following[:end])
    if kind is Kind.MISSET and "rand" in first:
        return ("random",)
    if kind is Kind.PIVOT:
        return next(((name,) for name in ("beam", "sample") if name in first), None)
    if kind is Kind.DEPTH and "inf" in first:
        return (math.inf,)
    if len(following) < kind.count:
        return None
    if kind is Kind.MISSET and token not in flag.names:
        return tuple(_leading_number(word) for word in following[: kind.count])
    if kind in _WORDS:
        return (first,)
    return tuple(_value(flag, token, word, _leading_integer) for word in following[: kind.count])


def _leading_number(word: str) -> float:
    """Read the number with which a word begins, 0 where it does not: whatever stands behind ``-misset_seed`` (Q20)."""
    number = _NUMBER.match(word)
    value = float(number.group()) if number else 0.0
    return value if math.isfinite(value) else 0.0


# At most one flag of each row.
_EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("mosflm", "xds", "adxv", "denzo", "dials"),
    ("square_xtal", "round_xtal", "gauss_xtal", "tophat_spots"),
    ("round_div", "square_div"),
    ("interpolate", "nointerpolate"),
    ("polar", "nopolar"),
    ("progress", "noprogress"),
    ("noisefile", "nonoise"),
    ("pgmfile", "nopgm"),
    ("pgmscale", "nopgm"),
    ("pix0_vector", "pix0_vector_mm"),
    ("orgx", "xclose"),
    ("orgy", "yclose"),
    ("stol", "stol_4", "stol_q"),
)
_CELLS = ("n_cells_a", "n_cells_b", "n_cells_c")
_DIVERGENCE = ("divergence", "hdivrange", "vdivrange", "hdivstep", "vdivstep", "hdivsteps", "vdivsteps", "divsteps")
# The first flag wins over the others, wherever they stand.
_OVERRIDES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("close_distance", ("distance",)),
    ("samplesize", ("n_cells", *_CELLS)),
    ("detpixels", ("detsize", "detsize_fast", "detsize_slow")),
    ("sourcefile", (*_DIVERGENCE, "dispersion", "dispsteps")),
)
# The first flag sets all of the others, and so undoes those that stand before it.
_COVERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("n_cells", _CELLS),
    ("samplesize", ("samplesize_x", "samplesize_y", "samplesize_z")),
    ("detpixels", ("detpixels_fast", "detpixels_slow")),
    ("detsize", ("detsize_fast", "detsize_slow")),
    ("divergence", ("hdivrange", "vdivrange")),
    ("divsteps", ("hdivsteps", "vdivsteps")),
)
_WITHOUT_EFFECT = ("stolout", "coherent")
_ROUNDING = 1e-4
"""Two flags that agree to this relative difference say the same: people give four or five digits."""
_EV_A = 12398.42


def check_contradictions(occurrences: Sequence[Occurrence]) -> None:
    """Refuse flags that contradict each other (mode ``spec``).

    Parameters
    ----------
    occurrences : sequence of Occurrence
        What `match_flags` returned.

    Raises
    ------
    NumbraggError
        Two flags exclude each other, or give different values to the same quantity.

    Notes
    -----
    A `NumbraggWarning` names flags that another flag overrides by a documented rule, and flags without effect.
    Source: ``specs/20-command-line.md``, clauses 20.18 to 20.20.
    """
    given = {occurrence.flag.key: occurrence for occurrence in occurrences}
    for keys in _EXCLUSIVE:
        both = [given[key] for key in keys if key in given]
        if len(both) > 1:
            raise NumbraggError(f"{both[0]} and {both[1]} contradict each other: give one of them")
    _check_wavelength(given)
    _check_fluence(given)
    for note in _notes(given):
        warnings.warn(note, NumbraggWarning, stacklevel=2)


def _notes(given: Mapping[str, Occurrence]) -> Iterator[str]:
    for winner, losers in _OVERRIDES:
        for loser in losers:
            if winner in given and loser in given:
                yield f"{given[loser]} has no effect beside {given[winner]}"
    for general, parts in _COVERS:
        for part in parts:
            if general in given and part in given and given[part].position < given[general].position:
                yield f"{given[general]} replaces the earlier {given[part]}"
    of_a_table = () if any(key in given for key in ("stol", "stol_4", "stol_q")) else ("density", "molecular_weight")
    for key in (*of_a_table, *_WITHOUT_EFFECT):
        if key in given:
            yield f"{given[key]} is accepted and has no effect"


def _number_of(given: Mapping[str, Occurrence], key: str, default: float) -> float:
    return float(given[key].values[0]) if key in given else default


def _check_wavelength(given: Mapping[str, Occurrence]) -> None:
    if "energy" not in given or "lambda" not in given:
        return
    energy, wavelength = _number_of(given, "energy", 0.0), _number_of(given, "lambda", 0.0)
    if not math.isclose(wavelength * energy, _EV_A, rel_tol=_ROUNDING):
        raise NumbraggError(f"{given['lambda']} and {given['energy']} contradict each other: give one of them")


def _check_fluence(given: Mapping[str, Occurrence]) -> None:
    flux, exposure = _number_of(given, "flux", 0.0), _number_of(given, "exposure", 1.0)
    area = (_number_of(given, "beamsize", 0.1) / 1000) ** 2
    if "fluence" not in given or flux == 0 or exposure <= 0:
        return
    fluence = _number_of(given, "fluence", 0.0)
    if not math.isclose(fluence * area, flux * exposure, rel_tol=_ROUNDING):
        raise NumbraggError(
            f"{given['fluence']} and {given['flux']} contradict each other: give one of them "
            "(flux means fluence = flux*exposure/beamsize^2)"
        )
