"""How much memory an image takes."""

from benchmarks.common import experiment, public
from benchmarks.memory import bytes_over_image

MANY = "-roi 248 263 248 263 -osc 0.1 -phisteps 100 -mosaic_domains 50 -dispersion 1 -dispsteps 20"
"""A hundred phi steps, fifty domains, twenty sources."""


class PeakOverImage:
    params = (("sixteen", ""), ("pilatus6m", ""), ("pilatus6m", "-phisteps 40"), ("mosaic50", MANY))
    param_names = ("scene",)
    unit = "images"
    timeout = 300.0

    def setup(self, _: tuple[str, str]) -> None:
        public("parse_flags")

    def track_bytes_over_image(self, scene: tuple[str, str]) -> float:
        name, extra = scene
        return bytes_over_image(name, extra=extra)


class Peak:
    params = ("cubic", "pilatus6m")
    param_names = ("scene",)

    def setup(self, scene: str) -> None:
        self.simulate, self.scene = public("simulate"), experiment(scene)

    def peakmem_image(self, _: str) -> None:
        if not self.simulate(self.scene).max() > 0.0:
            raise AssertionError("the image is empty")
