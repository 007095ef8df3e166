"""The commands ``numbragg`` and ``nanoBragg``."""

import importlib
import os
import sys
import warnings
from typing import Any

from numbragg.errors import DeviationNote, NumbraggError, NumbraggWarning

COMMANDS = {
    "simulate": "simulate an image from nanoBragg's flags",
    "demo": "simulate a protein crystal and show the picture",
    "view": "look at an image, with resolution rings and predicted spots",
    "fmodel": "compute structure factors from a model",
    "trace": "print every quantity that makes one pixel",
    "gradcheck": "compare the derivatives of an image by three methods",
    "refine": "fit the parameters of an experiment to an image",
    "compare": "compare two images, or two programs on the same flags",
    "validate": "measure what numbragg is held to, and write the evidence",
    "info": "show versions and compiled kernels, or how a file was simulated",
}
"""Subcommand (a module of this package) and what it does."""

BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run ``numbragg`` and return its exit code: 0, 2 for bad input, 130 for Ctrl-C (specs/20-command-line.md)."""
    words = sys.argv[1:] if argv is None else argv
    return _guarded(_dispatch, words)


def nanobragg(argv: list[str] | None = None) -> int:
    """Run ``nanoBragg``: ``numbragg simulate --compat c``."""
    words = sys.argv[1:] if argv is None else argv
    return _guarded(_dispatch, ["simulate", "--compat", "c", *words])


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"numbragg {version('numbragg')}")
        return 0
    if words[0] not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(COMMANDS)}"
        raise NumbraggError(f"unknown command {words[0]} ({hint})")
    module = importlib.import_module(f"numbragg.cli.{words[0]}")
    return int(module.main(words[1:]))


def usage() -> str:
    """One line a command."""
    lines = ["usage: numbragg COMMAND ...", ""]
    lines += [f"  {name:10s} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join([*lines, "", "numbragg COMMAND --help tells more."])


def _guarded(run: Any, words: list[str]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("always", NumbraggWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            status: int = run(words)
            sys.stdout.flush()
        except NumbraggError as error:
            print(f"numbragg: error: {error}", file=sys.stderr)
            return BAD_INPUT
        except MemoryError:
            print("numbragg: error: not enough memory for this job; take a smaller -roi or detector", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("numbragg: interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # The reader of our output has gone; nothing is left to say, not even at interpreter exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return status


def _show_warning(message: Any, category: type[Warning], *_: Any) -> None:
    kind = "note" if issubclass(category, DeviationNote) else "warning"
    print(f"{kind}: {message}", file=sys.stderr)
