"""Write the golden images that come with the package: ``python tests/make_golden_subset.py``.

A few cases of ``tests/golden``, chosen so that together they take every path of the kernel's physics and stay small.
"""

import json
import shutil
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).parent / "golden"
TARGET = Path(__file__).parents[1] / "numbragg" / "data" / "golden"

CASES = (
    "cubic_os1",
    "sparse_hkl",
    "shape_tophat_spots",
    "phi_from_zero",
    "phi_from_zero_roi",
    "water_fluence",
    "everything",
)
THREADS = ("c_threads_3",)
INPUTS = ("dense.hkl", "sparse.hkl")


def main() -> None:
    """Replace the folder."""
    table = json.loads((SOURCE / "cases.json").read_text())
    shutil.rmtree(TARGET, ignore_errors=True)
    (TARGET / "inputs").mkdir(parents=True)
    cases = {name: {key: table[name][key] for key in ("args", "shape", "spec_image")} for name in CASES}
    (TARGET / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    copy_images("images_c.npz", CASES)
    copy_images("images_spec.npz", [name for name in CASES if cases[name]["spec_image"] == "images_spec.npz"])
    copy_images("phi_from_zero_threads.npz", THREADS)
    for name in INPUTS:
        shutil.copyfile(SOURCE / "inputs" / name, TARGET / "inputs" / name)


def copy_images(file: str, names: list[str] | tuple[str, ...]) -> None:
    with np.load(SOURCE / file) as images:
        np.savez_compressed(TARGET / file, **{name: images[name] for name in names})


if __name__ == "__main__":
    main()
