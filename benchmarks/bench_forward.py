"""How long an image takes, by everything that it can cost."""

from typing import Any

import numpy as np

from benchmarks.common import experiment, in_strips, precision, public, source_flags


class Forward:
    """One image, compiled before it is timed and looked at afterwards."""

    timeout = 600.0
    param_names: tuple[str, ...] = ()
    image: Any = None

    def prepare(self, scene: str, *, threads: int = 1, accuracy: str = "double", **options: Any) -> None:
        self.simulate, self.keywords = public("simulate"), {"threads": threads, **precision(accuracy)}
        self.scene = experiment(scene, **options)
        self.run()

    def run(self) -> None:
        self.image = self.simulate(self.scene, **self.keywords)

    def teardown(self, *_: Any) -> None:
        # asv tears down what was skipped, too.
        if self.image is not None and not (np.isfinite(self.image).all() and self.image.max() > 0.0):
            raise AssertionError("the image is empty or not finite")


class Scenes(Forward):
    params = (
        "pilatus6m", "cubic", "square", "round", "gauss", "tophat", "sources50", "mosaic50", "oversample3",
        "absorption", "tricubic", "curved",
    )  # fmt: skip
    param_names = ("scene",)

    def setup(self, scene: str) -> None:
        self.prepare(scene)

    def time_image(self, _: str) -> None:
        self.run()


class Threads(Forward):
    params = ((1, 2, 4), ("pilatus6m", "cubic"))
    param_names = ("threads", "scene")

    def setup(self, threads: int, scene: str) -> None:
        self.prepare(scene, threads=threads)

    def time_image(self, *_: Any) -> None:
        self.run()


class Panels(Forward):
    """The same pixels as one panel, and as strips of it."""

    params = (1, 16, 128)
    param_names = ("panels",)

    def setup(self, panels: int) -> None:
        self.prepare("square", threads=2)
        if panels > 1:
            self.scene = in_strips(self.scene, panels)
        self.run()

    def time_image(self, _: int) -> None:
        self.run()

    def time_derivatives(self, _: int) -> None:
        public("jacobian")(self.scene, ["cell.a", "misset.x", "detector.distance", "detector.rot_x"], threads=2)


class Precision(Forward):
    params = (("double", "mixed"), ("pilatus6m", "gauss", "tricubic"))
    param_names = ("precision", "scene")

    def setup(self, accuracy: str, scene: str) -> None:
        self.prepare(scene, accuracy=accuracy)

    def time_image(self, *_: Any) -> None:
        self.run()


class Compat(Forward):
    params = ("spec", "c")
    param_names = ("compat",)

    def setup(self, compat: str) -> None:
        self.prepare("pilatus6m", compat=compat, shrink=4)

    def time_image(self, _: str) -> None:
        self.run()


class ImageSize(Forward):
    params = (256, 512, 1024, 2048)
    param_names = ("pixels",)

    def setup(self, pixels: int) -> None:
        self.prepare("cubic", extra=f"-detpixels_x {pixels} -detpixels_y {pixels} -pixel {102.4 / pixels}")

    def time_image(self, _: int) -> None:
        self.run()


class Phi(Forward):
    params = (1, 10, 100)
    param_names = ("steps",)

    def setup(self, steps: int) -> None:
        self.prepare("square", shrink=4, extra=f"-phisteps {steps}")

    def time_image(self, _: int) -> None:
        self.run()


class Domains(Forward):
    params = (1, 10, 100)
    param_names = ("domains",)

    def setup(self, domains: int) -> None:
        self.prepare("mosaic50", shrink=2, extra=f"-mosaic {0.5 * (domains > 1)} -mosaic_domains {domains}")

    def time_image(self, _: int) -> None:
        self.run()


class Sources(Forward):
    params = (1, 10, 100)
    param_names = ("sources",)

    def setup(self, sources: int) -> None:
        self.prepare("sources50", shrink=2, extra=source_flags(sources))

    def time_image(self, _: int) -> None:
        self.run()


class Oversample(Forward):
    params = (1, 2, 4)
    param_names = ("sub_pixels",)

    def setup(self, sub_pixels: int) -> None:
        self.prepare("oversample3", shrink=2, extra=f"-oversample {sub_pixels}")

    def time_image(self, _: int) -> None:
        self.run()


class ScatteredPixels(Forward):
    """A tenth of the pixels, in no order."""

    def setup(self) -> None:
        self.prepare("square")
        whole = self.image
        chosen = np.random.default_rng(9).permutation(whole.size)[: whole.size // 10]
        slow, fast = np.unravel_index(chosen, whole.shape)
        self.keywords["pixels"] = (slow, fast)
        self.run()
        if not np.array_equal(self.image, whole[slow, fast]):
            raise AssertionError("a list of pixels gives another image")

    def time_pixels(self) -> None:
        self.run()
