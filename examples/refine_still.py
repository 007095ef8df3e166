"""Simulate a still of lambda Cro repressor with noise, forget how it was made, and refine it from its pixels.

    python examples/refine_still.py [picture.png]

needs matplotlib for the picture (``pip install numbragg[plot]``).
"""

import sys
import warnings
from pathlib import Path

import numpy as np

import numbragg

MODEL = Path(__file__).with_name("1orc.pdb")
SCENE = (
    f"-hkl {MODEL} -N 14 -lambda 1.1 -xds -distance 130 -pixel 0.1 -detpixels 768 -oversample 1 "
    "-misset 23 41 67 -fluence 2e28 -water 0.12"
)
GAIN, OFFSET, READOUT = 2.0, 40.0, 3.0  # ADU a photon, ADU, ADU
WRONG_BY = {
    "misset.x": 0.12, "misset.y": -0.15, "misset.z": 0.1, "cell.a": 0.08, "cell.b": -0.1, "cell.c": 0.12,
    "n_cells.a": -2.0, "n_cells.b": -2.0, "n_cells.c": -2.0, "detector.distance": 0.15,
}  # fmt: skip


def measure(experiment: numbragg.Experiment, seed: int) -> np.ndarray:
    """Counts, ADU, of a detector with gain, offset and readout noise."""
    generator = np.random.default_rng(seed)
    counts = generator.poisson(numbragg.simulate(experiment)) * GAIN + OFFSET
    return counts + generator.normal(0.0, READOUT, counts.shape)


def main() -> None:
    """Measure, perturb, refine, show."""
    with warnings.catch_warnings():
        # Where the background differs from nanoBragg.c is of no interest here.
        warnings.simplefilter("ignore", numbragg.NumbraggWarning)
        truth = numbragg.parse_flags(SCENE.split())
    image = measure(truth, seed=1)

    start = truth.replace({name: truth.parameters[name].value + wrong for name, wrong in WRONG_BY.items()})
    start = start.replace({"beam.fluence": 0.7 * truth.beam.fluence})
    result = numbragg.refine(
        start,
        image,
        free=["misset", "cell", "n_cells", "scale", "detector.distance"],
        gain=GAIN,
        adc_offset=OFFSET,
        readout_sigma=READOUT,
    )

    print(result.summary())
    print("error / standard uncertainty:")
    for name, value in result.parameters.items():
        true = 1.0 / 0.7 if name == "scale" else truth.parameters[name].value
        print(f"  {name:18s} {(value.value - true) / value.sigma:+.2f}")
    if len(sys.argv) > 1:
        result.plot(sys.argv[1])


if __name__ == "__main__":
    main()
