"""What numbragg is held to, measured: images, carryover, gradients, threads (specs/90-validation.md)."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.compat.build import Compat
from numbragg.errors import NumbraggError
from numbragg.golden import CARRYOVER_CASE, GoldenSet
from numbragg.gradients.check import DIFFERENCE_TOLERANCE, FUSED_TOLERANCE, GradientReport, gradcheck
from numbragg.kernels.params import NO_STEP
from numbragg.lowering.batches import carried_steps, find_inheritance
from numbragg.lowering.lower import lower
from numbragg.models.experiment import Experiment
from numbragg.simulation import simulate

OF_MAXIMUM = 1e-5
"""The reference sums in double and stores single precision; it loses digits where an index is almost whole."""
RELATIVE = 2e-4
"""Wherever the reference exceeds RELATIVE_ABOVE of its maximum, for the same reason."""
RELATIVE_ABOVE = 1e-4
TOPHAT_SHARE = 5e-4
"""Pixels at the edge of a tophat spot are in or out by the last bit of an index."""

SAME_CORRELATION = 1e-6
"""Between the correlation of our two images and that of the two measured ones."""
VISIBLE = 0.999
"""The carryover must move the correlation below this, or the comparison would show nothing."""

REAL_THREADS = (1, 2, 3)

GRADIENT_CASES: tuple[tuple[str, Compat], ...] = ((CARRYOVER_CASE, "spec"), (CARRYOVER_CASE, "c"), ("mosaic", "spec"))

Tick = Callable[[str], None]


@dataclass(frozen=True)
class ImageResult:
    """One image against the measured one."""

    case: str
    mode: Compat
    c_threads: int
    pixels: int
    max_difference: float | None  # of the measured maximum; None when the image is not finite
    pixels_off: int
    pixels_allowed: int
    passed: bool


@dataclass(frozen=True)
class InheritanceResult:
    """Pixels that inherit the unrotated crystal, for one number of emulated threads."""

    c_threads: int
    unrotated: int  # pixels whose carryover buffer says so
    measured_changes: int  # pixels in which the measured image differs from that of one thread
    unexplained: int  # those of them that the buffer does not name
    passed: bool


@dataclass(frozen=True)
class CorrelationResult:
    """How far the carryover moves the image: correlation of mode ``c`` with mode ``spec``."""

    case: str
    ours: float | None
    measured: float | None
    passed: bool


@dataclass(frozen=True)
class GradientResult:
    """The derivatives of one image by three methods."""

    case: str
    mode: Compat
    report: GradientReport
    passed: bool


@dataclass(frozen=True)
class ThreadsResult:
    """SHA-256 of an image (float64, C order) by the number of threads that computed it."""

    case: str
    mode: Compat
    sha256: dict[str, str]
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """One line of the summary."""

    what: str
    measured: str
    required: str
    passed: bool


@dataclass(frozen=True)
class Validation:
    """Everything that was measured."""

    golden_files: Mapping[str, str]
    cases_known: int
    images: tuple[ImageResult, ...]
    emulated_threads: tuple[ImageResult, ...]
    inheritance: tuple[InheritanceResult, ...]
    correlation: CorrelationResult
    gradients: tuple[GradientResult, ...]
    threads: tuple[ThreadsResult, ...]

    def verdicts(self) -> tuple[Verdict, ...]:
        """Judge every part (specs/90-validation.md, 90.6 to 90.11)."""
        return tuple(_verdicts(self))

    @property
    def passed(self) -> bool:
        """Whether all verdicts are good."""
        return all(verdict.passed for verdict in self.verdicts())

    def as_dict(self) -> dict[str, Any]:
        """Everything, and the verdicts, as JSON can hold it."""
        return {
            "passed": self.passed,
            "verdicts": [dataclasses.asdict(verdict) for verdict in self.verdicts()],
            **dataclasses.asdict(self),
        }


def chosen_cases(golden: GoldenSet, only: str = "") -> list[str]:
    """Names of the cases that contain ``only``.

    Raises
    ------
    NumbraggError
        There is none.
    """
    names = [name for name in golden.cases if only in name]
    if not names:
        raise NumbraggError(f"--only {only}: no golden case has that in its name; known: {', '.join(golden.cases)}")
    return names


def count_steps(golden: GoldenSet, names: Sequence[str]) -> int:
    """How often `validate` will report progress."""
    images = sum(len(golden.cases[name].modes) for name in names)
    gradients = sum(case in golden.cases for case, _ in GRADIENT_CASES)
    return images + 2 * len(golden.threaded) + 1 + gradients + 2


def validate(golden: GoldenSet, names: Sequence[str], *, threads: int | None = None, tick: Tick) -> Validation:
    """Measure everything.

    Parameters
    ----------
    golden
        What is compared with.
    names
        Cases whose images are compared; carryover, gradients and threads are checked on cases of their own.
    threads
        Threads to use; the result does not depend on it.
    tick
        Called with a few words before each of `count_steps` steps.
    """
    return Validation(
        golden_files=golden.fingerprints(),
        cases_known=len(golden.cases),
        images=tuple(check_images(golden, names, threads, tick)),
        emulated_threads=tuple(check_emulated_threads(golden, threads, tick)),
        inheritance=tuple(check_inheritance(golden, tick)),
        correlation=check_correlation(golden, threads, tick),
        gradients=tuple(check_gradients(golden, threads, tick)),
        threads=tuple(check_threads(golden, tick)),
    )


def check_images(golden: GoldenSet, names: Sequence[str], threads: int | None, tick: Tick) -> Iterator[ImageResult]:
    """Compare the image of each case, in each mode that was measured (clause 90.6)."""
    for name in names:
        for compat in golden.cases[name].modes:
            tick(f"{name} {compat}")
            experiment = golden.experiment(name, compat)
            yield compare_with_measured(name, compat, experiment, golden.measured(name, compat), threads)


def check_emulated_threads(golden: GoldenSet, threads: int | None, tick: Tick) -> Iterator[ImageResult]:
    """Compare with the images of several threads of nanoBragg.c (clause 90.7)."""
    for c_threads, measured in sorted(golden.threaded.items()):
        tick(f"{CARRYOVER_CASE} with {c_threads} threads of nanoBragg.c")
        experiment = golden.experiment(CARRYOVER_CASE, "c", c_threads=c_threads)
        yield compare_with_measured(CARRYOVER_CASE, "c", experiment, measured, threads)


def compare_with_measured(
    name: str, compat: Compat, experiment: Experiment, measured: npt.NDArray[np.float32], threads: int | None
) -> ImageResult:
    """Judge one image by clause 90.6."""
    image = simulate(experiment, threads=threads)
    wanted = measured.astype(float)
    difference, top = np.abs(image - wanted), float(wanted.max())
    off = ~(difference <= OF_MAXIMUM * top)
    off |= (wanted > RELATIVE_ABOVE * top) & ~(difference <= RELATIVE * wanted)
    share = TOPHAT_SHARE if experiment.crystal.shape == "tophat" else 0.0
    allowed, count = math.floor(share * image.size), int(off.sum())
    return ImageResult(
        case=name,
        mode=compat,
        c_threads=experiment.quirks.threads,
        pixels=image.size,
        max_difference=_number(difference.max() / top if top else difference.max()),
        pixels_off=count,
        pixels_allowed=allowed,
        passed=count <= allowed,
    )


def check_inheritance(golden: GoldenSet, tick: Tick) -> Iterator[InheritanceResult]:
    """Count the pixels that inherit the unrotated crystal, and find them in the measured images (clause 90.8)."""
    for c_threads, measured in sorted(golden.threaded.items()):
        tick(f"carryover of {c_threads} threads")
        unrotated = inherits_unrotated(golden.experiment(CARRYOVER_CASE, "c", c_threads=c_threads))
        changed = measured != golden.measured(CARRYOVER_CASE, "c")
        count, changes = int(unrotated.sum()), int(changed.sum())
        unexplained = int((changed & ~unrotated).sum())
        yield InheritanceResult(
            c_threads=c_threads,
            unrotated=count,
            measured_changes=changes,
            unexplained=unexplained,
            # The first pixel of all is the same whatever the number of threads.
            passed=count == c_threads and changes == c_threads - 1 and unexplained == 0,
        )


def inherits_unrotated(experiment: Experiment) -> npt.NDArray[np.bool_]:
    """Pixels of which the carryover buffer says that they inherit the unrotated crystal, shape (slow, fast)."""
    active = experiment.active_pixels()
    carried = carried_steps(active, find_inheritance(experiment, lower(experiment)))
    unrotated = np.zeros(experiment.detector.shape, bool)
    unrotated.flat[active[carried == NO_STEP]] = True
    return unrotated


def check_correlation(golden: GoldenSet, threads: int | None, tick: Tick) -> CorrelationResult:
    """Correlate mode ``c`` with mode ``spec``, ours and measured (clause 90.9)."""
    tick("correlation of the modes")
    modes: tuple[Compat, Compat] = ("c", "spec")
    simulated = [simulate(golden.experiment(CARRYOVER_CASE, mode), threads=threads) for mode in modes]
    ours = _correlation(*simulated)
    measured = _correlation(*(golden.measured(CARRYOVER_CASE, mode) for mode in modes))
    near = ours is not None and measured is not None and abs(ours - measured) <= SAME_CORRELATION
    return CorrelationResult(CARRYOVER_CASE, ours, measured, passed=near and ours is not None and ours < VISIBLE)


def check_gradients(golden: GoldenSet, threads: int | None, tick: Tick) -> Iterator[GradientResult]:
    """Compare the derivatives by all that matters, three methods each (clause 90.10)."""
    for name, compat in GRADIENT_CASES:
        if name in golden.cases:
            tick(f"gradients of {name} {compat}")
            report = gradcheck(golden.experiment(name, compat), threads=threads)
            yield GradientResult(name, compat, report, report.passed)


def check_threads(golden: GoldenSet, tick: Tick) -> Iterator[ThreadsResult]:
    """Hash the image that 1, 2 and 3 threads compute (clause 90.11)."""
    modes: tuple[Compat, Compat] = ("c", "spec")
    for compat in modes:
        tick(f"threads, mode {compat}")
        experiment = golden.experiment(CARRYOVER_CASE, compat)
        hashes = {
            str(count): hashlib.sha256(simulate(experiment, threads=count).tobytes()).hexdigest()
            for count in REAL_THREADS
        }
        yield ThreadsResult(CARRYOVER_CASE, compat, hashes, passed=len(set(hashes.values())) == 1)


def _correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float | None:
    with np.errstate(all="ignore"):
        return _number(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def _number(value: Any) -> float | None:
    """Twelve digits, so that the order of a sum does not show; None for what is not finite."""
    return float(f"{value:.12g}") if math.isfinite(value) else None


def _verdicts(result: Validation) -> Iterator[Verdict]:
    same = f"all pixels within {OF_MAXIMUM:g} of the maximum and {RELATIVE:g} of their value"
    for mode, of in (("c", "nanoBragg.c"), ("spec", "the corrected nanoBragg.c")):
        rows = [row for row in result.images if row.mode == mode]
        if rows:
            yield _judge(f"images of {of}, mode {mode}", rows, _agreement(rows), same)
    rows = list(result.emulated_threads)
    counts = ", ".join(str(row.c_threads) for row in rows)
    yield _judge(f"images of {counts} threads of nanoBragg.c", rows, _agreement(rows), same)
    yield _judge(
        "pixels that inherit the unrotated crystal",
        result.inheritance,
        "; ".join(
            f"{row.unrotated} with {row.c_threads} threads ({row.measured_changes} in the measured image)"
            for row in result.inheritance
        ),
        "one a thread; all but the first are the pixels that change in the measured image",
    )
    correlation = result.correlation
    yield _judge(
        "correlation of mode c with mode spec",
        [correlation],
        f"{_shown(correlation.ours, 9)} (measured images: {_shown(correlation.measured, 9)})",
        f"that of the measured images to {SAME_CORRELATION:g}, below {VISIBLE:g}",
    )
    for found in result.gradients:
        checks = found.report.checks
        yield _judge(
            f"derivatives of {found.case}, mode {found.mode}",
            [found],
            f"{sum(check.passed for check in checks)} of {len(checks)} parameters agree: fused pass to "
            f"{_worst(check.cs_vs_fused for check in checks)}, difference to "
            f"{_worst(check.cs_vs_3point for check in checks)} of the norm",
            f"complex step = fused pass to {FUSED_TOLERANCE:g}, = central difference to {DIFFERENCE_TOLERANCE:g}",
        )
    hashes = [len(set(row.sha256.values())) for row in result.threads]
    yield _judge(
        f"{', '.join(map(str, REAL_THREADS))} real threads",
        result.threads,
        "identical" if set(hashes) == {1} else f"{max(hashes)} different images",
        "identical bit for bit",
    )


def _judge(what: str, rows: Sequence[Any], measured: str, required: str) -> Verdict:
    return Verdict(what, measured, required, passed=bool(rows) and all(row.passed for row in rows))


def _agreement(rows: Sequence[ImageResult]) -> str:
    off = sum(row.pixels_off for row in rows)
    return (
        f"{sum(row.passed for row in rows)} of {len(rows)} agree, to {_largest(rows)} of the maximum, {off} pixels off"
    )


def _largest(rows: Sequence[ImageResult]) -> str:
    values = [row.max_difference for row in rows]
    return "not finite" if None in values else _worst(values)


def _worst(values: Iterable[float | None]) -> str:
    """The largest of those that are numbers."""
    return _shown(max((value for value in values if value is not None), default=None), 2)


def _shown(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}g}"
