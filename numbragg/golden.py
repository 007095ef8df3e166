"""Images measured on nanoBragg.c, with the command line of each (specs/90-validation.md, 90.1 to 90.5)."""

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.compat.build import Compat, build_job
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.models.experiment import Experiment

CARRYOVER_CASE = "phi_from_zero"
"""The case of which there are images from several threads of nanoBragg.c."""

CASES_FILE = "cases.json"
IMAGE_FILES: dict[Compat, str] = {"c": "images_c.npz", "spec": "images_spec.npz"}
THREADS_FILE = "phi_from_zero_threads.npz"
THREADS_PREFIX = "c_threads_"

_PACKAGE = Path(__file__).parent
SHIPPED = _PACKAGE / "data" / "golden"
"""Some of the cases, which come with the package."""
CHECKOUT = _PACKAGE.parent / "tests" / "golden"
"""All cases, when the package runs from its source repository."""

WHERE_TO_GET = "the full set is the folder tests/golden of numbragg's source repository"

_MEASURED_WITH = ("-floatfile", "float.bin", "-noprogress")
"""Words behind a case's own: -misset_seed at the end of a line takes some of them (specs/40-compat.md, Q20)."""

Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GoldenCase:
    """A command line and where its images are."""

    name: str
    flags: str
    shape: tuple[int, int]  # (slow, fast)
    modes: tuple[Compat, ...]  # modes in which an image was measured
    spec_as_c: bool  # no deviation matters: the image of mode c is that of mode spec


@dataclass(frozen=True)
class GoldenSet:
    """Measured cases and images.

    Attributes
    ----------
    folder : Path
        Absolute; its folder ``inputs`` holds what the command lines name.
    cases : dict of str to GoldenCase
        By name.
    images : dict of str to dict of str to ndarray
        By mode and name; float32, photons, shape (slow, fast).
    threaded : dict of int to ndarray
        `CARRYOVER_CASE` in mode ``c`` by number of nanoBragg.c's threads.
    """

    folder: Path
    cases: Mapping[str, GoldenCase]
    images: Mapping[Compat, Mapping[str, Image]]
    threaded: Mapping[int, Image]

    def measured(self, name: str, compat: Compat) -> Image:
        """Image of a case in a mode in which it was measured."""
        as_c = compat == "c" or self.cases[name].spec_as_c
        return self.images["c" if as_c else "spec"][name]

    def experiment(self, name: str, compat: Compat, *, c_threads: int = 1) -> Experiment:
        """Build the experiment of a case from its flags."""
        words = [*self.cases[name].flags.split(), *_MEASURED_WITH]
        with _empty_folder_with_inputs(self.folder), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", NumbraggWarning)
            return build_job(words, compat, c_threads=c_threads).experiment

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of every file of the set, by its path within the folder."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".md")
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def find_golden(folder: str | os.PathLike[str] | None = None) -> Path:
    """Folder of golden images: the one named, else all of them in a checkout, else those that come with the package.

    Raises
    ------
    NumbraggError
        The folder holds no golden images, or none come with this installation.
    """
    if folder is not None:
        path = Path(os.path.abspath(folder))
        if not (path / CASES_FILE).is_file():
            raise NumbraggError(f"--golden {folder}: no {CASES_FILE} there; {WHERE_TO_GET}")
        return path
    for path in (CHECKOUT, SHIPPED):
        if (path / CASES_FILE).is_file():
            return path
    raise NumbraggError(f"no golden images come with this installation: give --golden DIR; {WHERE_TO_GET}")


def read_golden(folder: Path) -> GoldenSet:
    """Read a set of golden images.

    Raises
    ------
    NumbraggError
        A file is missing or damaged, or holds other than `CASES_FILE` says.
    """
    cases = _read_cases(folder / CASES_FILE)
    if CARRYOVER_CASE not in cases:
        raise NumbraggError(f"{folder / CASES_FILE}: the case {CARRYOVER_CASE} is missing; {WHERE_TO_GET}")
    images = {compat: _read_images(folder / file) for compat, file in IMAGE_FILES.items()}
    threaded = {
        int(name.removeprefix(THREADS_PREFIX)): image
        for name, image in _read_images(folder / THREADS_FILE).items()
        if name.removeprefix(THREADS_PREFIX).isdigit()
    }
    if not threaded:
        raise NumbraggError(f"{folder / THREADS_FILE}: no image of several threads; {WHERE_TO_GET}")
    golden = GoldenSet(folder, cases, images, threaded)
    for case in cases.values():
        for compat in case.modes:
            stored: Compat = "c" if case.spec_as_c else compat
            _check(golden.images[stored].get(case.name), case, folder / IMAGE_FILES[stored])
    for image in threaded.values():
        _check(image, cases[CARRYOVER_CASE], folder / THREADS_FILE)
    return golden


def _read_cases(path: Path) -> dict[str, GoldenCase]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {name: _case(name, entry) for name, entry in table.items()}
    except OSError as error:
        raise NumbraggError(f"cannot read {path}: {error.strerror or error}; {WHERE_TO_GET}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NumbraggError(f"{path} is no table of golden cases ({error}); {WHERE_TO_GET}") from error


def _case(name: str, entry: Mapping[str, Any]) -> GoldenCase:
    slow, fast = (int(pixels) for pixels in entry["shape"])
    where = entry["spec_image"]
    if where not in (IMAGE_FILES["spec"], "same as c", "none"):
        raise ValueError(f"{name}: spec_image is {where!r}")
    return GoldenCase(
        name=name,
        flags=str(entry["args"]),
        shape=(slow, fast),
        modes=("c",) if where == "none" else ("c", "spec"),
        spec_as_c=where == "same as c",
    )


def _read_images(path: Path) -> dict[str, Image]:
    """All float images of an archive; other files of a case have a slash in their name."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], np.float32) for name in archive.files if "/" not in name}
    except OSError as error:
        raise NumbraggError(f"cannot read {path}: {error.strerror or error}; {WHERE_TO_GET}") from error
    except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise NumbraggError(f"{path} is no archive of images ({error}); {WHERE_TO_GET}") from error


def _check(image: Image | None, case: GoldenCase, path: Path) -> None:
    if image is None:
        raise NumbraggError(f"{path}: the image of {case.name} is missing; {WHERE_TO_GET}")
    if image.shape != case.shape or not np.isfinite(image).all():
        raise NumbraggError(f"{path}: the image of {case.name} is damaged; {WHERE_TO_GET}")


@contextlib.contextmanager
def _empty_folder_with_inputs(golden: Path) -> Iterator[None]:
    """Work in a new folder, since mode ``c`` leaves a table there that the next case would read (Q11)."""
    with tempfile.TemporaryDirectory(prefix="numbragg-golden-") as name:
        os.symlink(golden / "inputs", Path(name, "inputs"), target_is_directory=True)
        with contextlib.chdir(name):
            yield
