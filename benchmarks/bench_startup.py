"""How long a process takes to its first image."""

import tempfile
from typing import Any

from benchmarks.common import experiment, public
from benchmarks.measure import run_child
from benchmarks.startup import command_seconds, compile_seconds, first_call

KERNELS = ("cubic", "round", "gauss", "tophat", "tricubic")


class Warm:
    """With kernels in the cache."""

    timeout = 300.0
    number = 1
    repeat = 5
    warmup_time = 0.0

    def setup(self) -> None:
        # First of all: asv tears down what was skipped, too.
        self.folder = tempfile.TemporaryDirectory()
        public("parse_flags")
        command_seconds(self.folder.name)

    def teardown(self) -> None:
        self.folder.cleanup()

    def time_import(self) -> None:
        run_child("-c", "import numbragg")

    def time_command(self) -> None:
        command_seconds(self.folder.name)

    def time_first_call(self) -> None:
        first_call("cubic", self.folder.name)


class Cold:
    """What compiling adds to the first call."""

    timeout = 300.0
    params = KERNELS
    param_names = ("scene",)
    unit = "s"

    def setup(self, scene: str) -> None:
        experiment(scene, shrink=64)

    def track_compile_seconds(self, scene: str) -> float:
        return compile_seconds(scene)


class Loading:
    """What loading a compiled kernel adds to the first call."""

    unit = "s"
    timeout = 300.0

    def setup(self, *_: Any) -> None:
        self.folder = tempfile.TemporaryDirectory()
        public("parse_flags")
        first_call("cubic", self.folder.name)

    def teardown(self, *_: Any) -> None:
        self.folder.cleanup()

    def track_load_seconds(self) -> float:
        return min(first_call("cubic", self.folder.name) for _ in range(3))
