"""Figures that the machine cancels out of: each is a ratio within one run."""

from benchmarks.common import experiment, public
from benchmarks.limits import OPERATIONS, fraction_of_fma_peak
from benchmarks.measure import best_in_turn
from benchmarks.reference import naive_module, race


class Naive:
    params = (
        "pilatus6m", "round", "gauss", "tophat", "sources50", "mosaic50", "oversample3", "absorption", "tricubic",
    )  # fmt: skip
    param_names = ("scene",)
    timeout = 600.0

    def setup(self, _: str) -> None:
        public("parse_flags")
        naive_module()

    def track_ratio_to_naive(self, scene: str) -> float:
        return race(scene).ratio


class Limits:
    params = tuple(OPERATIONS)
    param_names = ("shape",)
    unit = "of the peak"

    def setup(self, _: str) -> None:
        public("parse_flags")

    def track_fraction_of_fma_peak(self, shape: str) -> float:
        return fraction_of_fma_peak(shape)


class Pilatus:
    timeout = 600.0

    def setup(self) -> None:
        self.simulate = public("simulate")
        self.spec, self.c = experiment("pilatus6m"), experiment("pilatus6m", compat="c")
        for scene in (self.spec, self.c):
            self.simulate(scene, threads=1)

    def track_carryover_cost(self) -> float:
        spec, c = best_in_turn([lambda: self.simulate(self.spec, threads=1), lambda: self.simulate(self.c, threads=1)])
        return c / spec

    def track_two_threads_over_one(self) -> float:
        simulate, scene = self.simulate, self.spec
        one, two = best_in_turn([lambda: simulate(scene, threads=1), lambda: simulate(scene, threads=2)])
        return one / two
