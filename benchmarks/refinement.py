"""``python -m benchmarks.refinement figures|scores|radius|time``: the tables of specs/55-refinement.md, 55.60."""

import argparse
import os
import sys
import time
import warnings
from typing import Any, NamedTuple

import numpy as np

import numbragg
from numbragg.lowering.orientations import crystal_axes

TRUTH = {
    "cell.a": 55.0, "cell.b": 65.0, "cell.c": 75.0, "cell.beta": 95.0,
    "n_cells.a": 12.0, "n_cells.b": 12.0, "n_cells.c": 11.0,
}  # fmt: skip
START = {
    "cell.a": 55.1, "cell.b": 65.2, "cell.c": 74.9, "cell.beta": 94.9,
    "n_cells.a": 10.0, "n_cells.b": 10.0, "n_cells.c": 10.0,
}  # fmt: skip
MISSET = (20.0, 35.0, 50.0)
TILT = 0.15  # degrees
DISTANCE, START_DISTANCE = 150.0, 150.1  # mm
START_SCALE = 0.8
FLUENCE = 1e29
WATER = 0.05  # micrometre: the crystal is a block of 12 cells, and this its share
AIR = 5.0  # photons a pixel at the beam
READOUT = 3.0  # ADU
GAIN = 1.5
OFFSET = 40.0
FREE = ("misset", "cell", "n_cells", "scale", "detector.distance")
REACH = (24, 28, 32)

TILTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
SOLVED = 0.01
"""Degrees from the truth within which a start was refined to it."""


class Scene(NamedTuple):
    """An experiment and what its detector expects, photons."""

    truth: numbragg.Experiment
    expected: np.ndarray


def made_up_table(seed: int = 0) -> numbragg.StructureFactors:
    """Amplitudes of a P1 crystal with B = 20 A^2: exponential intensities, Friedel mates alike."""
    shape = tuple(2 * reach + 1 for reach in REACH)
    amplitudes = 100.0 * np.sqrt(np.random.default_rng(seed).exponential(1.0, shape))
    amplitudes = 0.5 * (amplitudes + amplitudes[::-1, ::-1, ::-1])
    h, k, l = np.meshgrid(*(np.arange(-reach, reach + 1) for reach in REACH), indexing="ij")
    amplitudes *= np.exp(-5.0 * ((h / 55.0) ** 2 + (k / 65.0) ** 2 + (l / 75.0) ** 2))
    amplitudes[REACH] = 0.0
    return numbragg.StructureFactors((-REACH[0], -REACH[1], -REACH[2]), amplitudes)


def make_scene(shape: Any = "square", *, pixels: int = 513, wavelength: float = 1.3) -> Scene:
    """The scene of diffBragg's own test of its hopper, with made-up amplitudes."""
    crystal = numbragg.Crystal(
        cell=(55.0, 65.0, 75.0, 90.0, 95.0, 90.0), misset=MISSET, n_cells=(12.0, 12.0, 11.0), shape=shape,
        structure_factors=made_up_table(), interpolate=False,
    )  # fmt: skip
    detector = numbragg.Detector(
        n_fast=pixels, n_slow=512, pixel_size=0.1, distance=DISTANCE, beam_fast=0.05 * pixels, beam_slow=25.6
    )
    truth = numbragg.Experiment(
        crystal=crystal, beam=numbragg.Beam(wavelength=wavelength, fluence=FLUENCE, polarization=0.9),
        detector=detector, oversample=1, water_size=WATER,
    )  # fmt: skip
    slow, fast = np.indices(detector.shape)
    away = np.hypot(slow - 255.5, fast - 0.5 * pixels) * 0.1
    return Scene(truth, numbragg.simulate(truth) + AIR * np.exp(-away / 12.0))


def measured(scene: Scene, seed: int) -> np.ndarray:
    """Counts, ADU: photon noise, gain, readout noise, offset."""
    generator = np.random.default_rng(seed)
    return generator.poisson(scene.expected) * GAIN + OFFSET + generator.normal(0.0, READOUT, scene.expected.shape)


def perturbed(scene: Scene, seed: int, tilt: float = TILT) -> numbragg.Experiment:
    """The start: cell, N, scale and distance off, and the crystal tilted about a random axis of the angles' space."""
    axis = np.random.default_rng(1000 + seed).normal(size=3)
    axis *= tilt / np.linalg.norm(axis)
    for _ in range(3):
        turned = dict(zip(("misset.x", "misset.y", "misset.z"), np.add(MISSET, axis).tolist(), strict=True))
        start = scene.truth.replace(turned)
        # Angles about the three axes do not add up to the angle of the rotation.
        axis *= tilt / max(misorientation(start, scene.truth), 1e-9)
    fluence = {"beam.fluence": FLUENCE * START_SCALE}
    return scene.truth.replace({**START, **turned, **fluence, "detector.distance": START_DISTANCE})


def misorientation(a: numbragg.Experiment, b: numbragg.Experiment) -> float:
    """Angle between two crystals, degrees; what strain there is between the cells is left out."""
    left, _, right = np.linalg.svd(np.linalg.inv(crystal_axes(a.crystal)) @ crystal_axes(b.crystal))
    sine = np.linalg.norm(left @ right - (left @ right).T) / np.sqrt(8.0)
    return float(np.degrees(np.arcsin(min(1.0, sine))))


def refined(scene: Scene, start: numbragg.Experiment, seed: int, **options: Any) -> numbragg.RefinementResult:
    """Refine with what is known of the detector."""
    known: dict[str, Any] = {"readout_sigma": READOUT, "gain": GAIN, "adc_offset": OFFSET, "free": FREE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numbragg.NumbraggWarning)
        return numbragg.refine(start, measured(scene, seed), **(known | options))


def errors(result: numbragg.RefinementResult) -> dict[str, float]:
    """Refined minus true value of each parameter, in its unit."""
    true = {**TRUTH, **dict(zip(("misset.x", "misset.y", "misset.z"), MISSET, strict=True))}
    true |= {"scale": 1.0 / START_SCALE, "detector.distance": DISTANCE}
    return {name: value - true[name] for name, value in result.values.items()}


def figures(options: argparse.Namespace) -> int:
    """The figures of diffBragg's hopper, seed by seed."""
    passed = 0
    for shape in options.shapes:
        scene = make_scene(shape)
        print(f"{shape}: seed  tilt(deg)  N  scale(%)  cell(A)  cell(deg)  distance(mm)  chi2/dof  passes")
        for seed in range(options.runs):
            result = refined(scene, perturbed(scene, seed), seed, method=options.method)
            off = errors(result)
            tilt = misorientation(result.experiment, scene.truth)
            cells = max(abs(off[f"n_cells.{axis}"]) for axis in "abc")
            scale = 100.0 * START_SCALE * abs(off["scale"])
            length, angle = max(abs(off[f"cell.{axis}"]) for axis in "abc"), abs(off["cell.beta"])
            distance = abs(off["detector.distance"])
            good = tilt < 0.005 and cells < 0.2 and scale < 1.0 and length < 0.025 and angle < 0.025 and distance < 0.2
            passed += good and result.success
            print(
                f"{seed:4d}  {tilt:.5f}  {cells:.4f}  {scale:.3f}  {length:.4f}  {angle:.4f}  {distance:.4f}  "
                f"{result.fit.reduced_chi2:.4f}  {result.fused_passes}+{result.forward_passes}  "
                f"{'ok' if good else 'FAILED'}",
                flush=True,
            )
    print(f"{passed} of {options.runs * len(options.shapes)} reach the figures")
    return 0 if passed == options.runs * len(options.shapes) else 1


def scores(options: argparse.Namespace) -> int:
    """Error over standard uncertainty of each parameter, over many repetitions."""
    for shape in options.shapes:
        scene = make_scene(shape)
        start = perturbed(scene, 0)
        rows = []
        for seed in range(options.runs):
            result = refined(scene, start, seed, method=options.method, likelihood=options.likelihood)
            rows.append([error / (result.sigmas[name] or np.nan) for name, error in errors(result).items()])
            print(f"  {seed}: chi2/dof {result.fit.reduced_chi2:.4f}", file=sys.stderr, flush=True)
        print(f"{shape}, {options.method}, {options.likelihood}, {options.runs} repetitions: mean and std of z")
        for name, column in zip(result.values, np.array(rows).T, strict=True):
            print(f"  {name:18s} {column.mean():+.3f}  {column.std(ddof=1):.3f}")
    return 0


def radius(options: argparse.Namespace) -> int:
    """Share of starts that are refined to the truth, against the tilt of the start."""
    for shape in options.shapes:
        scene = make_scene(shape)
        for method in options.methods:
            row = []
            for tilt in TILTS:
                solved = passes = 0
                for seed in range(options.runs):
                    start = perturbed(scene, seed, tilt)
                    iterations = options.hops if method == "basinhopping" else None
                    result = refined(scene, start, seed, method=method, cycles=1, max_iterations=iterations)
                    solved += misorientation(result.experiment, scene.truth) < SOLVED
                    passes += result.fused_passes + result.forward_passes
                row.append(f"{tilt:g}: {solved}/{options.runs} ({passes // options.runs})")
                print(f"  {shape} {method} {row[-1]}", flush=True)
    return 0


def timing(options: argparse.Namespace) -> int:
    """CPU and wall time of a still of 512 x 512 pixels with 13 free parameters."""
    scene = make_scene("square", pixels=512, wavelength=options.wavelength)
    free = (*FREE, "detector.beam_fast")
    for seed in range(options.runs):
        cpu, wall = time.process_time(), time.perf_counter()
        result = refined(scene, perturbed(scene, seed), seed, free=free, method=options.method)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(
            f"{len(result.values)} parameters, {result.fit.boxes} boxes, {result.fit.pixels} pixels: "
            f"{wall:.2f} s wall, {cpu:.2f} s CPU, {result.fused_passes}+{result.forward_passes} passes, "
            f"{len(result.history)} points, {os.cpu_count()} cores; {result.outcome}"
        )
    return 0


COMMANDS = {"figures": figures, "scores": scores, "radius": radius, "time": timing}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refinement", description=__doc__)
    parser.add_argument("table", choices=COMMANDS)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--shapes", nargs="+", default=["square"])
    parser.add_argument("--method", default="trf")
    parser.add_argument("--likelihood", default="gaussian")
    parser.add_argument("--methods", nargs="+", default=["trf", "L-BFGS-B", "basinhopping"])
    parser.add_argument("--hops", type=int, default=25)
    parser.add_argument("--wavelength", type=float, default=1.0)
    options = parser.parse_args(argv)
    return COMMANDS[options.table](options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
