"""``python -m benchmarks.memory SCENE FLAGS``: peak memory of one simulation in a process of its own."""

import json
import sys
from typing import NamedTuple

from benchmarks.common import experiment, inputs, public, source_flags
from benchmarks.measure import peak_bytes, run_child

REGION = "-roi 248 263 248 263"
MANY = f"{REGION} -osc 0.1 -phisteps 100 -mosaic_domains 50 {source_flags(20)}"
"""A hundred phi steps, fifty domains and twenty sources on 256 pixels."""

ONE = f"{REGION} -mosaic_domains 2 {source_flags(1)}"
"""The same pixels with next to nothing to add up."""


class Memory(NamedTuple):
    """Bytes of one simulation."""

    over_import: int
    image: int


def memory_of(scene: str, extra: str = "") -> Memory:
    """Peak memory over that of the import, and size of the float64 image; kernels come from the cache."""
    words = ("-m", "benchmarks.memory", scene, extra)
    run_child(*words)
    return Memory(*json.loads(run_child(*words)))


def bytes_over_image(scene: str, extra: str = "") -> float:
    """Peak memory over that of the import, in units of the image."""
    found = memory_of(scene, extra)
    return found.over_import / found.image


def added_by_many() -> int:
    """Bytes that MANY takes more than ONE."""
    return memory_of("mosaic50", MANY).over_import - memory_of("mosaic50", ONE).over_import


def main(argv: list[str]) -> int:
    """Print the two fields of `Memory` as JSON."""
    scene, extra = argv
    simulate = public("simulate")
    public("parse_flags")
    inputs()
    imported = peak_bytes()
    image = simulate(experiment(scene, extra=extra))
    if not image.max() > 0.0:
        raise AssertionError(f"{scene}: an empty image")
    print(json.dumps([peak_bytes() - imported, image.nbytes]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
