"""SciPy's optimisers with our derivatives, on noiseless data (specs/50-gradients.md, 50.72)."""

import numpy as np
import pytest
from conftest import small_experiment
from scipy.optimize import approx_fprime, least_squares, minimize

from numbragg.gradients.linear_operator import image_function, linear_operator, value_and_grad

NAMES = (
    "misset.x", "misset.y", "misset.z", "cell.a", "cell.b", "cell.c", "cell.beta",
    "detector.distance", "detector.beam_fast", "detector.beam_slow",
)  # fmt: skip

REACHED = 1e-10
"""Of the loss at the start: passes are counted to here, since the methods stop by rules of their own."""

NEAR = 1e-2
"""Of the distance from the start to the truth, where the loss is REACHED: the worst determined of ten parameters."""

TRUTH = 1e-5
"""The same where an optimiser stops by itself."""

STEEP = 1e6
"""Of the loss of `minimize` at the start: Newton-CG takes a curvature below 1e-15 for none."""

FEWER = 5.0
"""Passes with SciPy's 2-point over passes with our derivatives, ten parameters."""


class Reached(Exception):  # noqa: N818
    """The target, after which no passes count."""


class Problem:
    """Image of ten parameters in units of how far off each starts: 0.05 degrees, 0.1 percent of an edge, 0.5 mm."""

    def __init__(self) -> None:
        self.experiment = small_experiment(
            crystal={"n_cells": (3.0, 3.0, 3.0), "structure_factors": None, "default_f": 100.0},
            detector={
                "n_fast": 48, "n_slow": 44, "pixel_size": 3.7, "distance": 200.0, "beam_fast": 60.0, "beam_slow": 70.0,
            },
        )  # fmt: skip
        self.pixels = np.divmod(np.random.default_rng(0).choice(48 * 44, 700, replace=False), 48)
        self.function = image_function(self.experiment, NAMES, pixels=self.pixels, threads=1)
        edges = np.array([name in ("cell.a", "cell.b", "cell.c") for name in NAMES])
        mm = np.array([name.startswith("detector") for name in NAMES])
        self.truth = self.function.x0
        self.away = np.where(edges, 0.001 * self.truth, np.where(mm, 0.5, 0.05))
        self.data = self.function(self.truth)
        self.norm = np.linalg.norm(self.function(self.truth + self.away) - self.data)
        self.passes, self.best = 0, None

    def x(self, z):
        return self.truth + z * self.away

    def stop_at_target(self, loss, z):
        if loss <= REACHED:
            self.best = z.copy()
            raise Reached

    def residual(self, z):
        self.passes += 1
        deviation = (self.function(self.x(z)) - self.data) / self.norm
        if not np.iscomplexobj(z):
            self.stop_at_target(deviation @ deviation, z)
        return deviation

    def slopes(self, z):
        self.passes += 1
        return self.function.jacobian(self.x(z)) * self.away / self.norm

    def loss(self, z):
        deviation = self.residual(z)
        return STEEP * float(deviation @ deviation)

    def loss_and_gradient(self):
        def squares(image):
            deviation = (image - self.data) / self.norm
            return STEEP * float(deviation @ deviation), STEEP * 2.0 * deviation / self.norm

        both = value_and_grad(self.experiment, NAMES, squares, pixels=self.pixels, threads=1)

        def function(z):
            self.passes += 1
            loss, gradient = both(self.x(z))
            self.stop_at_target(loss / STEEP, z)
            return loss, gradient * self.away

        return function

    def curvature(self, z, p):
        """2 J^T J p: the Hessian but for the second derivatives of the image."""
        at = self.function.experiment_at(self.x(z))
        operator = linear_operator(at, NAMES, pixels=self.pixels, threads=1)
        return STEEP * 2.0 * self.away * operator.rmatvec(operator.matvec(p * self.away)) / self.norm**2

    def count(self, run):
        """Passes that a method needs to the target."""
        self.passes, self.best = 0, None
        with pytest.raises(Reached):
            run()
        assert np.abs(self.best).max() <= NEAR
        return self.passes


@pytest.fixture(scope="module")
def problem():
    return Problem()


@pytest.mark.parametrize("method", ["trf", "lm", "dogbox"])
def test_least_squares_needs_five_times_fewer_passes(problem, method):
    """Clause 50.72; ``jac="cs"`` is SciPy's own complex step through our function."""
    counts = {}
    for kind, jac in (("fused", problem.slopes), ("cs", "cs"), ("2-point", "2-point")):

        def run(jac=jac):
            least_squares(problem.residual, np.ones(10), jac=jac, method=method)

        counts[kind] = problem.count(run)
        print(f"{method} {kind}: {counts[kind]} passes")
    assert FEWER * counts["fused"] <= counts["2-point"]
    assert counts["cs"] <= counts["2-point"]


@pytest.mark.parametrize("method", ["trf", "lm", "dogbox"])
def test_least_squares_reaches_the_truth_in_no_more_iterations(problem, method):
    """Clause 50.72."""
    evaluations = {}
    for kind, jac in (("fused", problem.function.jacobian), ("cs", "cs"), ("2-point", "2-point")):
        result = least_squares(
            lambda x: problem.function(x) - problem.data,
            problem.x(np.ones(10)),
            jac=jac,
            method=method,
            x_scale=problem.away,
            ftol=1e-10,
        )
        assert np.abs((result.x - problem.truth) / problem.away).max() <= TRUTH
        # With "lm" SciPy counts the evaluations of a numerical Jacobian as those of the function, or not, by version.
        evaluations[kind] = result.nfev
        print(f"{method} {kind}: nfev {result.nfev}")
    assert evaluations["fused"] <= evaluations["2-point"]
    assert evaluations["fused"] <= evaluations["cs"]


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr", "Newton-CG"])
def test_minimize_needs_five_times_fewer_passes(problem, method):
    """Clauses 50.62 and 50.72; Newton-CG and trust-constr are given J^T J by the operator."""
    own: dict = {"maxfun": 20000, "ftol": 0.0, "gtol": 0.0} if method == "L-BFGS-B" else {"xtol": 1e-14}
    more: dict = {"options": {"maxiter": 2000, **own}, **({} if method == "L-BFGS-B" else {"hessp": problem.curvature})}
    # Newton-CG takes no word for its gradient, only a function.
    differences = (lambda z: approx_fprime(z, problem.loss)) if method == "Newton-CG" else "2-point"
    counts = {
        "fused": problem.count(
            lambda: minimize(problem.loss_and_gradient(), np.ones(10), jac=True, method=method, **more)
        ),
        "2-point": problem.count(lambda: minimize(problem.loss, np.ones(10), jac=differences, method=method, **more)),
    }
    for kind, count in counts.items():
        print(f"{method} {kind}: {count} passes")
    assert FEWER * counts["fused"] <= counts["2-point"]
