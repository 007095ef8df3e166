"""How long photon noise takes."""

from typing import Any

from benchmarks.common import noise_means, public


class Philox:
    drawn: Any = None
    params = (1, 2)
    param_names = ("threads",)

    def setup(self, _: int) -> None:
        self.draw, self.means = public("poisson_noise"), noise_means()

    def time_six_megapixel(self, threads: int) -> None:
        self.drawn = self.draw(self.means, seed=1, threads=threads)

    def teardown(self, _: int) -> None:
        # Five standard deviations of a sum of Poisson deviates. asv tears down what was skipped, too.
        if self.drawn is not None and abs(self.drawn.photons - self.means.sum()) > 5.0 * self.means.sum() ** 0.5:
            raise AssertionError("the noise does not have the mean of the image")
