"""Compiled kernels on disk (specs/60-performance.md, 60.45) and ``numbragg info`` (specs/20-command-line.md, 20.60)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import numbragg
from numbragg import kernel_cache
from numbragg.cli import BAD_INPUT, info

FLAGS = "-default_F 10 -cell 50 60 70 90 90 90 -N 3 -lambda 1 -distance 50 -detpixels 8 -oversample 1"
COMPILING = "compiling kernels (once)"


def simulate(package: Path, folder: Path) -> str:
    """What ``numbragg simulate`` of an installation says on standard error, in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": str(package), "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-P", "-m", "numbragg", "simulate", *FLAGS.split(), "-noprogress"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return done.stderr


def test_installation_that_cannot_be_written_uses_a_folder_of_the_user(tmp_path):
    """Clause 60.45: a second process finds what the first has compiled."""
    installed, user = tmp_path / "installed", tmp_path / "user"
    user.mkdir()
    shutil.copytree(
        Path(numbragg.__file__).parent, installed / "numbragg", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [path for path in (installed / "numbragg").rglob("*") if path.is_dir()]:
        # A file in place of the folder keeps everybody out, the superuser as well.
        (folder / "__pycache__").touch()
    assert COMPILING in simulate(installed, user)
    assert [path.suffix for path in user.rglob("*forward*.nbc")] == [".nbc"]
    assert COMPILING not in simulate(installed, user)


class TestInfo:
    """Clauses 20.60 to 20.63."""

    def test_installation_is_described(self):
        status, out, err = run("info")
        assert (status, err) == (0, "")
        assert out.startswith("numbragg ")
        assert f"in {kernel_cache.cache_folder()}\n" in out

    @pytest.mark.parametrize(("words", "kinds"), [("--compile", "images"), ("--compile all", "all")])
    def test_compile(self, words, kinds, monkeypatch):
        asked = []
        monkeypatch.setattr(kernel_cache, "compile_kernels", lambda kinds: asked.append(kinds) or iter(["something"]))
        assert run(f"info {words}").status == 0
        assert asked == [kinds]

    def test_every_kind_of_kernel_is_compiled_once(self, monkeypatch):
        calls = []

        def record(name):
            return lambda experiment, *_, **rest: calls.append(
                (name, experiment.crystal.shape, experiment.crystal.interpolate, rest.get("precision"))
            )

        for name in ("simulate", "fused_jacobian", "complex_step_jacobian", "structure_factor_jacobian"):
            monkeypatch.setattr(kernel_cache, name, record(name))
        said = list(kernel_cache.compile_kernels("all"))
        assert len(set(calls)) == len(calls) == 8 * 5
        assert len(said) == len(calls) + 1

    @pytest.mark.parametrize("words", ["--compile some", "--compile all images", "--fast", "no.img"])
    def test_bad_input(self, words, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        status, out, err = run(f"info {words}")
        assert (status, out) == (BAD_INPUT, "")
        assert err.startswith("numbragg: error: ")
        assert err.count("\n") == 1

    def test_help(self):
        assert run("info --help") == (0, f"{info.USAGE}\n", "")

    def test_file_says_how_to_make_it_again(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert run(f"simulate {FLAGS} -noisefile a.img -seed 3").status == 0
        first = run("info a.img").out
        (again,) = (line.removeprefix("again ").strip() for line in first.splitlines() if line.startswith("again"))
        before = Path("a.img").read_bytes()
        os.remove("a.img")
        assert run(again.removeprefix("numbragg ")).status == 0
        assert Path("a.img").read_bytes() == before
        assert run("info a.img a.img").out == f"a.img:\n{first}\na.img:\n{first}"


def test_smallest_experiment_gives_an_image():
    image = kernel_cache.simulate(kernel_cache._smallest("square", False), threads=1)
    assert np.isfinite(image).all()
    assert image.max() > 0.0
