"""``python -m benchmarks.memory SCENE SHRINK FLAGS``: peak memory of one simulation in a process of its own."""

import json
import sys

from benchmarks.common import experiment, public
from benchmarks.measure import peak_bytes, run_child


def bytes_over_image(scene: str, *, shrink: int = 1, extra: str = "") -> float:
    """Peak memory over that of the import, in units of the float64 image; kernels come from the cache."""
    words = ("-m", "benchmarks.memory", scene, str(shrink), extra)
    run_child(*words)
    found = json.loads(run_child(*words))
    return float((found["peak"] - found["import"]) / found["image"])


def main(argv: list[str]) -> int:
    """Print the peak after the import and after the simulation, and the size of the image."""
    scene, shrink, extra = argv
    simulate = public("simulate")
    public("parse_flags")
    imported = peak_bytes()
    image = simulate(experiment(scene, shrink=int(shrink), extra=extra))
    if not image.max() > 0.0:
        raise AssertionError(f"{scene}: an empty image")
    print(json.dumps({"import": imported, "peak": peak_bytes(), "image": image.nbytes}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
