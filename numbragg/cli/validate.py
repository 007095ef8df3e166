"""``numbragg validate``: a folder of evidence that anyone can reproduce (specs/90-validation.md)."""

import argparse
import shlex
import sys
import time
from typing import NoReturn

from numbragg.cli._compiling import announce_compilation
from numbragg.errors import NumbraggError

SUMMARY: str = "measure images, carryover, gradients and threads, and write the evidence"

FAILED = 3

_EPILOG = """\
DIR appears complete or not at all; an earlier bundle in it is replaced. It holds commands.txt, env.json,
metrics.json, gradcheck.log, summary.md and sha256.txt (sha256sum -c sha256.txt).

exit codes: 0 all verdicts are good, 2 bad input, 3 a verdict is not
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NumbraggError(f"validate: {message} (numbragg validate --help)")


def main(argv: list[str]) -> int:
    """Run ``numbragg validate`` and return its exit code (clause 90.18).

    Raises
    ------
    NumbraggError
        Wrong options, no golden images, or a folder that cannot be written.
    """
    options = _parser().parse_args(argv)

    from tqdm import tqdm

    from numbragg.evidence import (
        bundle_folder,
        check_target,
        commands_text,
        environment,
        verdict_lines,
        write_bundle,
    )
    from numbragg.golden import find_golden, read_golden
    from numbragg.simulation import count_threads
    from numbragg.validation import chosen_cases, count_steps, validate

    target = check_target(options.out)
    count_threads(options.threads)
    golden = read_golden(find_golden(options.golden))
    names = chosen_cases(golden, options.only)
    command = shlex.join(["numbragg", "validate", *_same_result(options), "--out", "evidence"])
    announce_compilation()
    start = time.perf_counter()
    with bundle_folder(target) as bundle:
        total = count_steps(golden, names)
        with tqdm(total=total, unit="step", leave=False, disable=not sys.stderr.isatty()) as bar:

            def tick(what: str) -> None:
                bar.set_description(what, refresh=False)
                bar.update()

            result = validate(golden, names, threads=options.threads, tick=tick)
        seconds = time.perf_counter() - start
        commands = commands_text(golden, names, command)
        write_bundle(bundle, result, commands, environment(options.threads, golden.folder, seconds))
    print("\n".join(verdict_lines(result.verdicts())))
    print(f"wrote {options.out} ({len(names)} of {len(golden.cases)} cases from {golden.folder})")
    return 0 if result.passed else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="numbragg validate",
        description=SUMMARY.capitalize() + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--out", metavar="DIR", required=True, help="folder to write")
    add("--golden", metavar="DIR", help="folder of golden images (default: all in a checkout, else those shipped)")
    add("--only", metavar="TEXT", default="", help="compare only the images of cases with TEXT in their name")
    add("--threads", metavar="N", type=int, help="threads to run (default: all cores); the figures do not depend on it")
    return parser


def _same_result(options: argparse.Namespace) -> list[str]:
    """Options that the figures depend on."""
    words = []
    if options.golden is not None:
        words += ["--golden", options.golden]
    if options.only:
        words += ["--only", options.only]
    return words
