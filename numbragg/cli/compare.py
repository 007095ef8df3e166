"""``numbragg compare``: two images, or two programs with the same flags (specs/70-compare.md)."""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numbragg.comparison import FLOOR, Comparison, check_options, checked_image, compare, shape_text
from numbragg.errors import NumbraggError
from numbragg.peaks import GATE, PERCENTILE

SUMMARY: str = "compare two images, or the images of two programs"

USAGE, RUN_FAILED, BELOW_THRESHOLD, SHAPES_DIFFER, UNREADABLE = 1, 2, 3, 4, 5
"""Exit codes (specs/70-compare.md, clause 70.24)."""

_EPILOG = """\
A and B are SMV (.img), CBF, NXmx (.h5:3 for its fourth image), NumPy (.npy) or raw float32 images; of several panels
one is compared (.h5:3:1, .npy:1). Flags behind -- go to both commands.

examples:
  numbragg compare image.bin reference.bin --shape 2527 2463 --threshold 0.9999
  numbragg compare a.img b.img --json - --png difference.png
  numbragg compare --run-a "numbragg simulate --compat c" --run-b nanoBragg -- -cell 50 50 50 90 90 90 \\
      -default_F 100 -N 5 -lambda 1 -distance 100 -detpixels 512

exit codes: 0 fine, 1 usage, 2 a run failed, 3 correlation below --threshold, 4 shapes differ, 5 unreadable
"""


class _RefusedError(NumbraggError):
    def __init__(self, status: int, message: str, tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.tail = tail


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NumbraggError(f"compare: {message} (numbragg compare --help)")


@dataclass(frozen=True)
class _Side:
    """An image, what it is called, and how long the command that made it took."""

    name: str
    pixels: npt.NDArray[Any]
    seconds: float | None = None


def main(argv: list[str]) -> int:
    """Run ``numbragg compare`` and return its exit code (specs/70-compare.md, clause 70.24)."""
    try:
        return _run(argv)
    except _RefusedError as error:
        return _refused(error.status, error, error.tail)
    except NumbraggError as error:
        return _refused(USAGE, error)
    except MemoryError:
        return _refused(UNREADABLE, "not enough memory for these images; take a smaller --roi")


def _run(argv: list[str]) -> int:
    end = argv.index("--") if "--" in argv else len(argv)
    flags = argv[end + 1 :]
    options = _parser().parse_args(argv[:end])
    _check(options, separator=end < len(argv))
    sides = _run_both(options, flags) if options.run_a else (_read(options.images[0]), _read(options.images[1]))
    a, b = _same_shape(*sides, shape=options.shape)
    unit = "ADU" if any(side.pixels.dtype.kind in "iu" for side in (a, b)) else "photons"
    shared: dict[str, Any] = {"roi": options.roi, "names": (a.name, b.name), "unit": unit}
    result = compare(
        a.pixels, b.pixels, floor=options.floor, percentile=options.percentile, gate=options.gate, **shared
    )
    if options.png:
        from numbragg.plotting import plot_comparison

        plot_comparison(options.png, a.pixels, b.pixels, **shared)
    return _report(options, result, a, b)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="numbragg compare",
        usage="numbragg compare [options] A B\n"
        "       numbragg compare [options] --run-a COMMAND --run-b COMMAND -- FLAGS",
        description=SUMMARY.capitalize() + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="A B", help="the two images")
    add("--run-a", metavar="COMMAND", help="run this with the flags behind -- and take its image as A")
    add("--run-b", metavar="COMMAND", help="the same for B")
    add("--shape", nargs=2, type=int, metavar=("SLOW", "FAST"), help="pixels of raw images")
    add("--roi", nargs=4, type=int, metavar=("FMIN", "FMAX", "SMIN", "SMAX"), help="compare these pixels only")
    add("--threshold", type=float, metavar="R", help="exit with 3 when the correlation is below R")
    add("--floor", type=float, default=FLOOR, metavar="PHOTONS", help="for relative differences (default %(default)g)")
    add("--percentile", type=float, default=PERCENTILE, metavar="P", help="that peaks lie above (default %(default)g)")
    add("--gate", type=float, default=GATE, metavar="PX", help="largest distance of a match (default %(default)g px)")
    add("--json", metavar="FILE", help="write the figures as JSON; - for standard output, in place of the table")
    add("--png", metavar="FILE", help="draw A, B and A - B (needs numbragg[plot])")
    return parser


def _check(options: argparse.Namespace, *, separator: bool) -> None:
    """Refuse wrong usage before any file is read or command run."""
    runs = [command is not None for command in (options.run_a, options.run_b)]
    if any(runs) and (not all(runs) or options.images):
        raise NumbraggError("compare: give --run-a and --run-b together and no files (numbragg compare --help)")
    if not any(runs) and (len(options.images) != 2 or separator):
        hint = "flags behind -- need --run-a and --run-b" if separator else "give two images, or --run-a and --run-b"
        raise NumbraggError(f"compare: {hint} (numbragg compare --help)")
    for command in (options.run_a, options.run_b) if all(runs) else ():
        from numbragg.cli.side_by_side import split_command

        split_command(command)
    if options.threshold is not None and not -1 <= options.threshold <= 1:
        raise NumbraggError(f"--threshold is {options.threshold:g}; a correlation lies within -1 and 1")
    if options.shape and min(options.shape) < 1:
        raise NumbraggError("--shape takes two positive whole numbers, SLOW FAST")
    check_options(floor=options.floor, percentile=options.percentile, gate=options.gate)
    for path in (options.png, None if options.json == "-" else options.json):
        if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise NumbraggError(f"cannot write {path}: its folder does not exist")
    if options.png is not None:
        from numbragg.io.figures import require_matplotlib

        require_matplotlib()


def _run_both(options: argparse.Namespace, flags: list[str]) -> tuple[_Side, _Side]:
    from numbragg.cli.side_by_side import RunFailedError, run_simulator, split_command

    with tempfile.TemporaryDirectory(prefix="numbragg-compare-") as name:
        sides = []
        for label, command in (("a", options.run_a), ("b", options.run_b)):
            folder = Path(name, label)
            folder.mkdir()
            try:
                run = run_simulator(command, split_command(command), flags, folder)
                checked_image(np.atleast_2d(run.image), command)
            except RunFailedError as error:
                raise _RefusedError(RUN_FAILED, f"--run-{label}: {error}", error.tail) from error
            except NumbraggError as error:
                raise _RefusedError(RUN_FAILED, f"--run-{label}: {error}") from error
            sides.append(_Side(command, run.image, run.seconds))
    return sides[0], sides[1]


def _read(path: str) -> _Side:
    from numbragg.io.image_file import read_image

    try:
        pixels = read_image(path)
        if pixels.ndim == 3:
            raise NumbraggError(
                f"{path} holds {len(pixels)} panels: compare one at a time, by its number from 0 behind the name "
                "(image.npy:1, series.h5:0:1)"
            )
        checked_image(np.atleast_2d(pixels), path)
    except NumbraggError as error:
        raise _RefusedError(UNREADABLE, str(error)) from error
    return _Side(path, pixels)


def _same_shape(a: _Side, b: _Side, *, shape: Sequence[int] | None) -> tuple[_Side, _Side]:
    """Give raw images their shape: --shape, else that of the other image, else a square (clause 70.14)."""
    if a.pixels.size != b.pixels.size or (a.pixels.ndim == b.pixels.ndim == 2 and a.pixels.shape != b.pixels.shape):
        raise _RefusedError(SHAPES_DIFFER, f"the shapes differ: {_size(a)}, {_size(b)}")
    known = [side.pixels.shape for side in (a, b) if side.pixels.ndim == 2]
    wanted = tuple(shape) if shape else known[0] if known else _square(a, b)
    if math.prod(wanted) != a.pixels.size or any(wanted != other for other in known):
        raise _RefusedError(SHAPES_DIFFER, f"--shape {wanted[0]} {wanted[1]} (slow, fast) does not fit: {_size(a)}")
    return (
        _Side(a.name, a.pixels.reshape(wanted), a.seconds),
        _Side(b.name, b.pixels.reshape(wanted), b.seconds),
    )


def _square(a: _Side, b: _Side) -> tuple[int, int]:
    side = math.isqrt(a.pixels.size)
    if side * side != a.pixels.size:
        raise NumbraggError(
            f"{a.name} and {b.name} do not say their shape, and {a.pixels.size} pixels are no square: "
            "give --shape SLOW FAST"
        )
    print(f"note: no shape is known; {side} x {side} pixels is a guess (--shape SLOW FAST tells)", file=sys.stderr)
    return side, side


def _size(side: _Side) -> str:
    what = shape_text(side.pixels) if side.pixels.ndim == 2 else f"{side.pixels.size} pixels"
    return f"{side.name} has {what}"


def _report(options: argparse.Namespace, result: Comparison, a: _Side, b: _Side) -> int:
    runs = {label: {"command": side.name, "seconds": side.seconds} for label, side in (("a", a), ("b", b))}
    timed = a.seconds is not None
    if options.json:
        text = json.dumps(result.as_dict() | ({"runs": runs} if timed else {}), indent=2, allow_nan=False) + "\n"
        _write_json(options.json, text)
    if options.json != "-":
        print(result.summary())
        print(result.table())
        if a.seconds is not None and b.seconds is not None:
            print(f"{'wall time A, B':15s} {a.seconds:.3f}, {b.seconds:.3f} s (B / A {b.seconds / a.seconds:.3g})")
    threshold = options.threshold
    if threshold is not None and (result.correlation is None or result.correlation < threshold):
        value = "undefined (a constant image)" if result.correlation is None else f"{result.correlation:.12g}"
        print(f"numbragg: the correlation is {value}, below the threshold {threshold:g}", file=sys.stderr)
        return BELOW_THRESHOLD
    return 0


def _write_json(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
        return
    from numbragg.io.atomic import atomic_write

    with atomic_write(target) as stream:
        stream.write(text.encode("utf-8"))


def _refused(status: int, message: object, tail: Sequence[str] = ()) -> int:
    line = " ".join(str(message).splitlines())
    print("\n".join([f"numbragg: error: {line}", *(f"  {last}" for last in tail)]), file=sys.stderr)
    return status
