"""How much memory an image takes."""

from benchmarks.common import experiment, public
from benchmarks.measure import traced_peak
from benchmarks.memory import added_by_many, bytes_over_image


class PeakOverImport:
    timeout = 300.0
    params = ("sixteen", "pilatus6m")
    param_names = ("scene",)
    unit = "images"

    def setup(self, _: str) -> None:
        public("parse_flags")

    def track_bytes_over_image(self, scene: str) -> float:
        return bytes_over_image(scene)


class ManyTerms:
    timeout = 300.0
    unit = "bytes"

    def setup(self) -> None:
        public("parse_flags")

    def track_bytes_added(self) -> int:
        return added_by_many()


class Peak:
    params = ("cubic", "pilatus6m")
    param_names = ("scene",)

    def setup(self, scene: str) -> None:
        self.simulate, self.scene = public("simulate"), experiment(scene)

    def peakmem_image(self, _: str) -> None:
        if not self.simulate(self.scene).max() > 0.0:
            raise AssertionError("the image is empty")


class Carryover:
    """What the carryover of mode c takes beside mode spec (specs/decisions/0001-phi-carryover-batches.md)."""

    timeout = 300.0
    unit = "bytes a pixel"

    def setup(self) -> None:
        self.simulate = public("simulate")
        self.scenes = [experiment("pilatus6m", compat=compat) for compat in ("spec", "c")]

    def track_bytes_a_pixel(self) -> float:
        spec, c = (traced_peak(self.simulate, scene) for scene in self.scenes)
        height, width = self.scenes[0].detector.shape
        return (c - spec) / (height * width)
