"""``python -m benchmarks.worker``: prepares and times cases of one revision, a JSON line a request and an answer.

Requests: ``{"prepare": case, "shrink": n}`` and ``{"time": case, "calls": n}``.
"""

import json
import sys
from typing import Any

from benchmarks.cases import CASES
from benchmarks.measure import Run, best, numbragg_parent, wall


class Worker:
    """The cases that were prepared."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for."""
        if "time" in request:
            return {"seconds": best(self.runs[request["time"]], request["calls"])}
        name = request["prepare"]
        try:
            self.runs[name] = CASES[name](request["shrink"])
            # The second call: the first may have warmed caches of the machine.
            return {"seconds": min(wall(self.runs[name]), wall(self.runs[name])), "numbragg": numbragg_parent()}
        except NotImplementedError as reason:
            return {"skip": str(reason)}
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}


def main() -> int:
    """Answer until standard input ends."""
    # What numbragg prints must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    worker = Worker()
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
