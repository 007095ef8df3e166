"""Say so while kernels are compiled."""

import sys
from typing import Any

from numba.core import event


class _Announcer(event.Listener):
    """Prints one line at the first compilation of the process."""

    def __init__(self) -> None:
        self.silent = True

    def on_start(self, event: Any) -> None:  # noqa: ARG002
        if self.silent:
            self.silent = False
            print("compiling kernels (once)", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


_announcer = _Announcer()


def announce_compilation() -> None:
    """Print a line to stderr when a kernel is not found in the cache and has to be compiled."""
    if _announcer.silent:
        event.register("numba:compile", _announcer)  # type: ignore[no-untyped-call]
