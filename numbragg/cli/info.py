"""``numbragg info``: this installation, or what a file says of itself (specs/20-command-line.md, 20.60 to 20.63)."""

import sys
from importlib.metadata import version

from numbragg.errors import NumbraggError

SUMMARY: str = "show versions and compiled kernels, or how a file was simulated"

USAGE = """\
usage: numbragg info [--compile [images|all]]
       numbragg info FILE ...

Show versions, threads and the folder of the compiled kernels; or, of image files, geometry and the command that makes
them again.

  FILE                    image (.img, .cbf, .h5, .nxs, .png) or .expt
  --compile [images]      compile every kernel that images need, into that folder
  --compile all           those of derivatives as well

exit code: 0, 2 for bad input"""

PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "gemmi")


def main(argv: list[str]) -> int:
    """Run ``numbragg info`` and return its exit code.

    Raises
    ------
    NumbraggError
        An unknown option, or a file that cannot be read.
    """
    if any(word in ("-h", "--help") for word in argv):
        print(USAGE)
        return 0
    if argv[:1] == ["--compile"]:
        _compile(argv[1:])
    elif unknown := [word for word in argv if word.startswith("-")]:
        raise NumbraggError(f"info: unknown option {unknown[0]} (numbragg info --help)")
    elif argv:
        _describe(argv)
        return 0
    _show_installation()
    return 0


def _describe(paths: list[str]) -> None:
    from numbragg.provenance import describe_file

    blocks = ["\n".join([f"{path}:"] * (len(paths) > 1) + describe_file(path)) for path in paths]
    print("\n\n".join(blocks))


def _compile(words: list[str]) -> None:
    if len(words) > 1 or (words and words[0] not in ("images", "all")):
        raise NumbraggError(f"info: --compile takes images or all, not {' '.join(words)}")
    from numbragg.kernel_cache import compile_kernels

    for what in compile_kernels("all" if words == ["all"] else "images"):
        if sys.stderr.isatty():
            print(f"\r\x1b[Kcompiling: {what}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show_installation() -> None:
    import platform

    from numbragg.kernel_cache import cache_folder, cached_kernels
    from numbragg.simulation import count_threads

    count, size = cached_kernels()
    print(f"numbragg {version('numbragg')}, Python {platform.python_version()}")
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
    print(f"threads: {count_threads(None)}")
    print(f"compiled kernels: {count} ({size / 1e6:.1f} MB) in {cache_folder()}")
