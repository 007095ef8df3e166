"""What derivatives cost, beside one image: by shape, number of parameters, method and pixels."""

from typing import Any

import numpy as np

from benchmarks.common import experiment, public
from benchmarks.jacobians import PARAMETERS, fused_over_forward, still_over_forward
from benchmarks.measure import best_in_turn, traced_peak

SHAPES = ("square", "round", "gauss", "tophat")


class Derivatives:
    """Derivatives of a scene, compiled before they are timed and looked at afterwards."""

    timeout = 600.0
    slopes: Any = None

    def prepare(self, scene: str, names: tuple[str, ...], **options: Any) -> None:
        self.jacobian, self.names = public("jacobian"), list(names)
        self.scene = experiment(scene, shrink=2)
        self.options = options
        self.run()

    def run(self) -> None:
        self.slopes = self.jacobian(self.scene, self.names, **self.options)

    def teardown(self, *_: Any) -> None:
        # asv tears down what was skipped, too.
        if self.slopes is not None and not (np.isfinite(self.slopes).all() and self.slopes.any()):
            raise AssertionError("the derivatives are zero or not finite")


class Fused(Derivatives):
    params = (SHAPES, (1, 5, 15))
    param_names = ("scene", "parameters")

    def setup(self, scene: str, parameters: int) -> None:
        # The last one is of the detector, which moves TOPHAT spots as well.
        self.prepare(scene, PARAMETERS[-parameters:])

    def time_jacobian(self, *_: Any) -> None:
        self.run()

    def peakmem_jacobian(self, *_: Any) -> None:
        self.run()


class FusedOverForward:
    timeout = 600.0
    params: tuple[Any, ...] = (SHAPES, (1, 15))
    param_names = ("scene", "parameters")

    def setup(self, *_: Any) -> None:
        public("jacobian")

    def track_fused_over_forward(self, scene: str, parameters: int) -> float:
        return fused_over_forward(scene, PARAMETERS[-parameters:])


class Methods(Derivatives):
    """The other methods, on one derivative."""

    params = ("cs", "3-point", "2-point")
    param_names = ("method",)

    def setup(self, method: str) -> None:
        self.prepare("square", PARAMETERS[:1], method=method)

    def track_over_forward(self, _: str) -> float:
        simulate = public("simulate")
        simulate(self.scene)
        forward, other = best_in_turn([lambda: simulate(self.scene), self.run])
        return other / forward


class Still:
    """Eleven derivatives of a GAUSS still of 1024 x 1024 pixels (60.3)."""

    timeout = 600.0

    def setup(self) -> None:
        public("jacobian")

    def track_milliseconds(self) -> float:
        return 1e3 * still_over_forward().seconds

    def track_over_forward(self) -> float:
        return still_over_forward().ratio


class Memory:
    """Most bytes that a dense Jacobian holds, in images."""

    params = (1, 15)
    param_names = ("parameters",)
    unit = "images"

    def setup(self, _: int) -> None:
        self.jacobian, self.scene = public("jacobian"), experiment("square")

    def track_images(self, parameters: int) -> float:
        slow, fast = self.scene.detector.shape
        return traced_peak(self.jacobian, self.scene, list(PARAMETERS[:parameters])) / (8.0 * slow * fast)
