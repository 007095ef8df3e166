"""How much memory an image takes."""

from benchmarks.common import experiment, public
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
