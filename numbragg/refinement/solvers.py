"""SciPy's optimisers on a target (specs/55-refinement.md, 55.40 to 55.46)."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import scipy.optimize

from numbragg.errors import NumbraggError
from numbragg.refinement.information import fisher_information
from numbragg.refinement.observations import BackgroundFit
from numbragg.refinement.target import Target

Method = Literal[
    "trf", "dogbox", "lm", "L-BFGS-B", "trust-constr", "Nelder-Mead", "basinhopping", "differential_evolution"
]
METHODS: tuple[Method, ...] = get_args(Method)
LEAST_SQUARES: tuple[Method, ...] = ("trf", "dogbox", "lm")
MINIMIZE: tuple[Method, ...] = ("L-BFGS-B", "trust-constr", "Nelder-Mead")

RobustLoss = Literal["linear", "soft_l1", "huber", "cauchy", "arctan"]
ROBUST: tuple[RobustLoss, ...] = get_args(RobustLoss)

Vector = npt.NDArray[np.float64]

optimize: Any = scipy.optimize
"""Its stubs ask for more than SciPy itself does."""

MOST_REWEIGHTINGS = 20
FIRST_TOLERANCE, TOLERANCE = 1e-3, 1e-8
"""Of the sum of squares, that an iteration must gain: with the first weights, and with those of the model."""
UNCHANGED = 1e-2
"""Standard uncertainties: a reweighting that moves no parameter by more is the last."""
FAR = 1e100
"""Residual where no experiment exists."""
ROWS = 256
"""Of a Jacobian, decomposed at a time; at least twice the number of parameters."""
FLATTEST = 1e-10
"""Of the largest curvature: the least that a direction is scaled by."""
FIRST_SIMPLEX = 10.0
"""Standard uncertainties, along each axis."""
HOPS = 25
HOP = 4.0
"""Scales of a parameter (0.2 degrees of misset): the longest hop."""
GENERATIONS = 100
ITERATIONS = {"L-BFGS-B": 500, "trust-constr": 500, "Nelder-Mead": 5000}
EVALUATIONS = 200
"""Of least squares, over all sets of weights."""


class Solution(NamedTuple):
    """Where an optimiser stopped, and what it said."""

    u: Vector
    converged: bool
    message: str


class Options(NamedTuple):
    """How to minimise.

    Attributes
    ----------
    method, loss : str
        SciPy's names.
    max_iterations : int or None
        None for those of the method.
    seed : int
        Of methods that draw.
    refined : bool
        The start is good enough for weights by the model, as after an earlier cycle.
    """

    method: Method = "trf"
    loss: RobustLoss = "linear"
    max_iterations: int | None = None
    seed: int = 0
    refined: bool = False

    @property
    def minimises(self) -> bool:
        """Whether it is the likelihood itself that the method minimises in the end."""
        return self.method in MINIMIZE


def solve(target: Target, start: Vector, options: Options) -> Solution:
    """Minimise a target from a start u.

    Raises
    ------
    NumbraggError
        ``differential_evolution`` without two bounds for every parameter.
    """
    if options.method in LEAST_SQUARES:
        return _least_squares(target, start, options)
    if options.minimises:
        return _minimize(target, start, options)
    found = _hop(target, start, options) if options.method == "basinhopping" else _evolve(target, options)
    return _least_squares(target, found, options._replace(method="trf", max_iterations=None))


def check_options(options: Options) -> None:
    """Refuse what no optimiser of SciPy takes.

    Raises
    ------
    NumbraggError
        An unknown method or loss, or a loss that the method does not take.
    """
    if options.method not in METHODS:
        raise NumbraggError(f"no method is called {options.method} (known: {', '.join(METHODS)})")
    if options.loss not in ROBUST:
        raise NumbraggError(f"no loss is called {options.loss} (known: {', '.join(ROBUST)})")
    if options.loss != "linear" and options.method not in ("trf", "dogbox"):
        raise NumbraggError(f"loss {options.loss} is for the methods trf and dogbox, not {options.method}")
    if options.max_iterations is not None and options.max_iterations < 1:
        raise NumbraggError(f"max_iterations must be at least 1, not {options.max_iterations}")


def weighted(target: Target, u: Vector, weights: Vector) -> tuple[Vector, Vector] | None:
    """Residuals and their derivatives, without what the background explains; None where no experiment exists.

    Returns
    -------
    residuals : ndarray
        (photons - mean) sqrt(weight) of the pixels and, behind them, the restraints' deviations, shape (P + n,).
    jacobian : ndarray
        Derivatives in u, shape (P + n, n).
    """
    model = target.model(u)
    if model is None or model.jacobian is None:
        return None
    observations, restraints = target.observations, target.restraints
    fit = BackgroundFit(observations, weights)
    deviation = (observations.photons - model.photons - observations.background) * fit.root
    slopes = target.maps.slopes(u)
    residuals = np.concatenate([fit.rest(deviation), restraints.deviations(target.maps.values(u))])
    jacobian = np.concatenate([-fit.rest(model.jacobian * fit.root).T, np.diag(np.sqrt(restraints.inverse))])
    return residuals, jacobian * slopes


def _least_squares(target: Target, start: Vector, options: Options) -> Solution:
    """Least squares whose weights follow the model, until they no longer move anything."""
    u, left = start, options.max_iterations or EVALUATIONS
    weights = _weights(target, u, first_weights(target)) if options.refined else first_weights(target)
    target.model(u)
    target.accept(u)
    for number in range(MOST_REWEIGHTINGS):
        tolerance = TOLERANCE if number or options.refined else FIRST_TOLERANCE
        result = _once(target, u, weights, options._replace(max_iterations=left), tolerance)
        moved, u = result.x - u, result.x
        left -= int(result.nfev)
        found = _weights(target, u, weights)
        shift = float(np.sqrt(moved @ (result.jac.T @ result.jac) @ moved))
        if result.status == 0 or left < 1:
            return Solution(u, False, "the largest number of iterations is reached")
        same = bool(np.array_equal(found, weights))
        weights = found
        if same or shift < UNCHANGED:
            return Solution(u, bool(result.success), str(result.message))
    return Solution(u, False, "the weights do not settle")


def _once(target: Target, start: Vector, weights: Vector, options: Options, tolerance: float) -> Any:
    # A robust loss weighs the residuals one by one.
    compressed = options.loss == "linear" and len(start) < ROWS // 2
    size = len(start) + 1 if compressed else len(target.observations.photons) + len(start)

    @functools.lru_cache(maxsize=1)
    def at(key: bytes) -> tuple[Vector, Vector]:
        u = np.frombuffer(key)
        found = weighted(target, u, weights)
        if found is None:
            return np.full(size, FAR), np.zeros((size, len(u)))
        return _compressed(*found) if compressed else found

    def evaluate(u: Vector) -> tuple[Vector, Vector]:
        # SciPy asks for residuals and derivatives at the same point one after the other, and writes to what it gets.
        found = at(np.asarray(u, dtype=float).tobytes())
        return found[0].copy(), found[1].copy()

    def residuals(u: Vector) -> Vector:
        return evaluate(u)[0]

    def jacobian(u: Vector) -> Vector:
        if not np.array_equal(u, start):
            target.accept(u)
        return evaluate(u)[1]

    return optimize.least_squares(
        residuals,
        start,
        jac=jacobian,
        method=options.method,
        loss=options.loss,
        max_nfev=options.max_iterations,
        ftol=tolerance,
        xtol=1e-10,
        gtol=1e-12,
    )


def _compressed(residuals: Vector, jacobian: Vector) -> tuple[Vector, Vector]:
    """The same least-squares problem in n + 1 residuals: J^T J, J^T r and r^T r are the same.

    SciPy decomposes the Jacobian in every iteration, by methods that are slow for tens of thousands of rows. Blocks of
    rows are small enough for LAPACK to leave threads alone, which cost more than they bring here.
    """
    rows = np.column_stack([jacobian, residuals])
    width = rows.shape[1]
    while len(rows) > width:
        filled = np.zeros((-(-len(rows) // ROWS) * ROWS, width))
        filled[: len(rows)] = rows
        rows = np.reshape(np.linalg.qr(filled.reshape(-1, ROWS, width), mode="r"), (-1, width))
    return rows[:, -1], rows[:, :-1]


def first_weights(target: Target) -> Vector:
    """Weights before any fit: by what the pixels hold, since the model is not yet where the spots are."""
    observations = target.observations
    return target.likelihood.weights(np.maximum(observations.photons, observations.background))


def _weights(target: Target, u: Vector, weights: Vector) -> Vector:
    """Weights by the model and its backgrounds."""
    model = target.model(u)
    if model is None:
        return weights
    observations = target.observations
    rest = observations.photons - model.photons - observations.background
    target.background = observations.background + BackgroundFit(observations, weights).fit(rest)
    return target.likelihood.weights(model.photons + target.background)


def _minimize(target: Target, start: Vector, options: Options) -> Solution:
    """A minimiser in coordinates in which the curvature at the start is the same in every direction."""
    turn = _even_curvature(target, start)
    target.accept(start)

    def loss(y: Vector) -> tuple[float, Vector]:
        value, gradient = target.loss_and_gradient(start + turn @ y)
        return value, turn.T @ gradient

    def accepted(intermediate_result: Any) -> None:
        target.accept(start + turn @ intermediate_result.x)

    count = options.max_iterations or ITERATIONS[options.method]
    origin = np.zeros(len(start))
    if options.method == "Nelder-Mead":
        simplex = np.vstack([origin, FIRST_SIMPLEX * np.eye(len(start))])
        result: Any = optimize.minimize(
            lambda y: target.loss(start + turn @ y),
            origin,
            method="Nelder-Mead",
            callback=accepted,
            options={"maxiter": count, "maxfev": 4 * count, "initial_simplex": simplex, "adaptive": True,
                     "xatol": 1e-3, "fatol": 1e-4},
        )  # fmt: skip
    elif options.method == "trust-constr":
        result = optimize.minimize(
            loss,
            origin,
            jac=True,
            hess=lambda y: turn.T @ fisher_information(target, start + turn @ y) @ turn,
            method="trust-constr",
            callback=accepted,
            options={"maxiter": count, "gtol": 1e-4, "xtol": 1e-8},
        )
    else:
        result = optimize.minimize(
            loss,
            origin,
            jac=True,
            method="L-BFGS-B",
            callback=accepted,
            options={"maxiter": count, "maxfun": 4 * count, "ftol": 1e-10, "gtol": 1e-12, "maxcor": 20},
        )
    return Solution(start + turn @ result.x, bool(result.success), str(result.message))


def _even_curvature(target: Target, start: Vector) -> Vector:
    """Columns of length one standard uncertainty along the principal axes of the information at the start."""
    values, axes = np.linalg.eigh(fisher_information(target, start))
    return np.asarray(axes / np.sqrt(np.maximum(values, FLATTEST * values[-1])))


def _hop(target: Target, start: Vector, options: Options) -> Vector:
    """The best of many local minima, each found from a random step away from the best before."""
    steps = _hop_lengths(target)

    def local(fun: Callable[[Vector], float], u: Vector, *_: Any, **__: Any) -> Any:
        found = _least_squares(target, u, Options())
        return optimize.OptimizeResult(x=found.u, fun=fun(found.u), success=True, nfev=1, nit=1)

    generator = np.random.default_rng(options.seed)
    result: Any = optimize.basinhopping(
        target.loss,
        start,
        niter=options.max_iterations or HOPS,
        T=0.0,
        take_step=lambda u: u + steps * generator.uniform(-1.0, 1.0, len(u)),
        minimizer_kwargs={"method": local},
    )
    return np.asarray(result.x)


def _hop_lengths(target: Target) -> Vector:
    """Orientations have many minima, and hop; other parameters do only where no orientation is free."""
    turned = np.array([name.startswith("misset") for name in target.parameters.names])
    return HOP * (turned if turned.any() else np.ones(len(turned)))


def _evolve(target: Target, options: Options) -> Vector:
    """The best of a population within bounds."""
    low, high = target.maps.reach()
    open_ended = [
        name for name, ends in zip(target.parameters.names, zip(low, high, strict=True), strict=True)
        if not np.isfinite(ends).all()
    ]  # fmt: skip
    if open_ended:
        raise NumbraggError(f"differential_evolution needs two bounds for {', '.join(open_ended)}")

    def accepted(intermediate_result: Any) -> None:
        target.accept(intermediate_result.x)

    result: Any = optimize.differential_evolution(
        target.loss,
        list(zip(low.tolist(), high.tolist(), strict=True)),
        maxiter=options.max_iterations or GENERATIONS,
        seed=options.seed,
        polish=False,
        callback=accepted,
    )
    return np.asarray(result.x)
