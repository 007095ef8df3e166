"""``tox -e bench -- --against REV``: fail when the working tree is slower than a revision (60.30 to 60.33)."""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from benchmarks.cases import CASES
from benchmarks.decision import Decision, Pair, decide
from benchmarks.machine import describe
from benchmarks.measure import ROOT, child_environment

SLOWER, UNUSABLE = 1, 2
ROUNDS = 11
ROUND_SECONDS = 0.1
"""Calls of a round are repeated for about so long, and the least counts."""
MOST_CALLS = 20


class Tree(NamedTuple):
    """One revision: the folder that holds its package, and its own cache of compiled kernels."""

    folder: Path
    cache: Path


class Session:
    """A process that stays alive to time one tree."""

    def __init__(self, tree: Tree) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.worker"],
            env=child_environment(str(tree.folder), NUMBA_CACHE_DIR=str(tree.cache)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tree = tree

    def send(self, **request: Any) -> None:
        """Ask without waiting for the answer."""
        print(json.dumps(request), file=_open(self.process.stdin), flush=True)

    def receive(self) -> dict[str, Any]:
        """The answer to the oldest request."""
        line = _open(self.process.stdout).readline()
        if not line:
            raise RuntimeError(f"the process that times {self.tree.folder} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def seconds(self, case: str, calls: int) -> float:
        """Least seconds of so many calls."""
        self.send(time=case, calls=calls)
        return float(self.receive()["seconds"])

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


class MissingError(Exception):
    """A case that one of the revisions does not have, or that the older one fails in."""


class BrokenError(Exception):
    """A case that the newer revision fails in."""


def main(argv: Sequence[str]) -> int:
    """Compare, print one line a case, and return 1 when any is slower."""
    options = _parser().parse_args(argv)
    chosen = [name for name in CASES if not options.only or any(word in name for word in options.only)]
    with tempfile.TemporaryDirectory(prefix="numbragg-gate-") as name:
        folder = Path(name)
        try:
            before = check_out(options.against, folder / "before")
            after = check_out(options.revision, folder / "after") if options.revision else ROOT
        except subprocess.CalledProcessError as error:
            print(f"gate: {error.stderr.decode().strip()}", file=sys.stderr)
            return UNUSABLE
        trees = (Tree(before, folder / "cache-before"), Tree(after, folder / "cache-after"))
        print(f"{options.revision or 'working tree'} against {options.against}, factor {options.factor:g}")
        print(describe())
        worse = [case for case in chosen if not _passes(trees, case, options)]
    print(f"slower or broken: {', '.join(worse)}" if worse else "nothing is slower")
    return SLOWER if worse else 0


def check_out(revision: str, folder: Path) -> Path:
    """Put the package of a revision, and nothing else, into a folder; git keeps no trace of it."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision, "--", "numbragg"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _passes(trees: tuple[Tree, Tree], case: str, options: argparse.Namespace) -> bool:
    print(f"{case:24s}", end=" ", flush=True)
    try:
        # New processes each time: where memory happens to lie can slow one process down for its whole life.
        decision = decide(lambda _: measure_pairs(trees, case, options.shrink), options.factor)
    except MissingError as reason:
        print(f"skipped: {reason}", flush=True)
        return True
    except BrokenError as reason:
        print(f"BROKEN: {reason}", flush=True)
        return False
    print(_summary(decision), flush=True)
    return not decision.slower


def _summary(decision: Decision) -> str:
    tried = ", ".join(f"{c.minima:.2f}/{c.median:.2f}" for c in decision.comparisons)
    verdict = "SLOWER" if decision.slower else "ok, not confirmed" if len(decision.comparisons) > 1 else "ok"
    return f"{decision.ratio:5.2f}  {verdict} (minima/median {tried})"


def measure_pairs(trees: tuple[Tree, Tree], case: str, shrink: int) -> list[Pair]:
    """Times of both trees in turn, the order changing from round to round."""
    with _sessions(trees) as (before, after):
        calls = _prepare((before, after), case, shrink)
        pairs = []
        for number in range(ROUNDS):
            if number % 2:
                second = after.seconds(case, calls)
                pairs.append((before.seconds(case, calls), second))
            else:
                first = before.seconds(case, calls)
                pairs.append((first, after.seconds(case, calls)))
    return pairs


@contextlib.contextmanager
def _sessions(trees: tuple[Tree, Tree]) -> Iterator[tuple[Session, Session]]:
    with contextlib.ExitStack() as stack:
        before, after = (stack.enter_context(contextlib.closing(Session(tree))) for tree in trees)
        yield before, after


def _prepare(sessions: tuple[Session, Session], case: str, shrink: int) -> int:
    """Compile a case in both processes at once; return the calls of one round."""
    for session in sessions:
        session.send(prepare=case, shrink=shrink)
    answers = [session.receive() for session in sessions]
    for session, answer in zip(sessions, answers, strict=True):
        if "skip" in answer:
            raise MissingError(answer["skip"])
        if "failed" in answer:
            raise (BrokenError if session is sessions[1] else MissingError)(answer["failed"])
        if Path(answer["numbragg"]) != session.tree.folder:
            raise RuntimeError(f"numbragg came from {answer['numbragg']}, not {session.tree.folder}")
    return max(1, min(MOST_CALLS, int(ROUND_SECONDS / max(answer["seconds"] for answer in answers))))


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the process has no such stream")
    return stream


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tox -e bench --", description=__doc__, allow_abbrev=False)
    parser.add_argument("--against", metavar="REV", required=True, help="what to compare with: any git revision")
    parser.add_argument("--revision", metavar="REV", help="compare this revision, not the working tree")
    parser.add_argument("--factor", type=float, default=1.2, help="largest ratio of times that passes (1.2)")
    parser.add_argument("--shrink", type=int, default=2, help="take so many times fewer pixels along each edge (2)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only cases whose name holds one of the words")
    return parser
