"""How long tables of structure factors take to read."""

import importlib
from typing import Any

from benchmarks.common import long_table


class HklText:
    params = (100_000, 1_000_000)
    param_names = ("rows",)
    timeout = 120.0

    def setup(self, rows: int) -> None:
        try:
            self.read: Any = importlib.import_module("numbragg.io.hkl").read_hkl
        except ImportError:
            raise NotImplementedError("this revision reads no hkl text") from None
        self.path = long_table(rows)

    def time_read(self, _: int) -> None:
        self.found = self.read(self.path)

    def teardown(self, rows: int) -> None:
        found = getattr(self, "found", None)
        if found is not None and len(found.amplitudes) != rows:
            raise AssertionError(f"{len(found.amplitudes)} rows of {rows} were read")
