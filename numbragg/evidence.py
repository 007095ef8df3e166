"""A folder of evidence: what was run, where, and what came out (specs/90-validation.md, 90.12 to 90.17)."""

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numbragg.errors import NumbraggError
from numbragg.golden import GoldenSet
from numbragg.gradients.check import DIFFERENCE_TOLERANCE, FUSED_TOLERANCE
from numbragg.io.atomic import atomic_write
from numbragg.simulation import count_threads
from numbragg.validation import GradientResult, Validation, Verdict

SUMS_FILE = "sha256.txt"
FILES = ("commands.txt", "env.json", "gradcheck.log", "metrics.json", "summary.md", SUMS_FILE)
"""What a bundle holds."""

PACKAGES = ("numbragg", "numba", "llvmlite", "numpy", "scipy", "gemmi")

_GRADCHECK_HEAD = f"""\
Derivatives of every pixel with respect to every parameter that matters, as numbragg gradcheck compares them: the
complex step with the fused pass, to {FUSED_TOLERANCE:g} of the norm, and with the central difference, to
{DIFFERENCE_TOLERANCE:g}.
"""


def check_target(out: str | os.PathLike[str]) -> Path:
    """Absolute path of the bundle to write.

    Raises
    ------
    NumbraggError
        It is a file, a folder of other things, or in a folder that does not exist (clause 90.13).
    """
    target = Path(os.path.realpath(out))
    if not target.parent.is_dir():
        raise NumbraggError(f"--out {out}: the folder {target.parent} does not exist")
    if not target.exists():
        return target
    if not target.is_dir():
        raise NumbraggError(f"--out {out}: it is a file; name a folder")
    try:
        entries = {entry.name for entry in target.iterdir()}
    except OSError as error:
        raise NumbraggError(f"--out {out}: {error.strerror or error}") from error
    if entries and (SUMS_FILE not in entries or entries - set(FILES)):
        other = min(entries - set(FILES), default="some files")
        raise NumbraggError(
            f"--out {out}: the folder holds {other} and is no earlier bundle; name a new or empty folder"
        )
    return target


@contextlib.contextmanager
def bundle_folder(target: Path) -> Iterator[Path]:
    """Folder to fill; it takes its name, and replaces an earlier bundle, when the block ends without an error.

    Raises
    ------
    NumbraggError
        The folder cannot be written.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix=f".{target.name[:100]}.", dir=target.parent)
    except OSError as error:
        raise NumbraggError(f"cannot write {target}: {error.strerror or error}") from error
    with temporary as name:
        bundle = Path(name, "bundle")
        bundle.mkdir()
        yield bundle
        try:
            _put_in_place(bundle, target, Path(name, "earlier"))
        except OSError as error:
            raise NumbraggError(f"cannot write {target}: {error.strerror or error}") from error


def _put_in_place(bundle: Path, target: Path, earlier: Path) -> None:
    if not target.exists():
        os.rename(bundle, target)
        return
    os.rename(target, earlier)
    try:
        os.rename(bundle, target)
    except BaseException:
        os.rename(earlier, target)
        raise


def write_bundle(bundle: Path, result: Validation, commands: str, environment: Mapping[str, Any]) -> None:
    """Fill a folder with all `FILES` (clauses 90.14 to 90.17)."""
    texts = {
        "commands.txt": commands,
        "env.json": _json(environment),
        "metrics.json": _json(result.as_dict()),
        "gradcheck.log": gradcheck_log(result.gradients),
        "summary.md": summary(result),
    }
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(texts.items())}
    texts[SUMS_FILE] = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    for name, text in texts.items():
        with atomic_write(bundle / name) as stream:
            stream.write(text.encode())


def commands_text(golden: GoldenSet, names: Sequence[str], command: str) -> str:
    """Return the command of the bundle, and one for every image in it."""
    lines = [
        "# What made this bundle:",
        command,
        "",
        "# Each image by itself, in a folder where `inputs` is the folder of that name beside the golden images, and",
        "# where no Fdump.bin is left over from another case:",
    ]
    for name in names:
        case = golden.cases[name]
        lines += [f"numbragg simulate --compat {mode} {case.flags} -floatfile {name}_{mode}.bin" for mode in case.modes]
    return "\n".join(lines) + "\n"


def environment(threads: int | None, folder: Path, seconds: float) -> dict[str, Any]:
    """Versions, processor, threads, folder of the golden images, and the time that it all took."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_target": binding.get_host_cpu_name(),
        "cpu_features": sorted(name for name, present in features.items() if present),
        "cpus": os.cpu_count(),
        "threads": count_threads(threads),
        "golden": str(folder),
        "seconds": round(seconds, 2),
    }


def gradcheck_log(gradients: Sequence[GradientResult]) -> str:
    """One table an image."""
    tables = [f"{row.case}, mode {row.mode}: {_word(row.passed)}\n{row.report.table()}" for row in gradients]
    return "\n".join([_GRADCHECK_HEAD, *tables])


def summary(result: Validation) -> str:
    """Return the verdicts as a table, and what failed."""
    compared = len({row.case for row in result.images})
    lines = [
        "# Validation of numbragg",
        "",
        f"Verdict: **{_word(result.passed)}**. {compared} of {result.cases_known} golden cases were compared.",
        "",
        "| what | measured | required | verdict |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.measured} | {row.required} | {_word(row.passed)} |" for row in result.verdicts()),
    ]
    failed = [row for row in (*result.images, *result.emulated_threads) if not row.passed]
    if failed:
        lines += ["", "Images that are off:", ""]
        lines += [
            f"* {row.case}, mode {row.mode}, {row.c_threads} threads emulated: {row.pixels_off} pixels "
            f"({row.pixels_allowed} allowed), by up to {row.max_difference} of the maximum"
            for row in failed
        ]
    lines += [
        "",
        "Figures: `metrics.json`; machine: `env.json`; to repeat: `commands.txt`; check: `sha256sum -c sha256.txt`.",
    ]
    return "\n".join(lines) + "\n"


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One line a verdict, for a terminal."""
    return [f"{_word(row.passed)}  {row.what}: {row.measured}" for row in verdicts]


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _word(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
