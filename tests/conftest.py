"""Small experiments that the tests of the kernel and of the physics share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import GOLDEN, link_inputs
from hypothesis import settings

from numbragg.models.beam import Beam
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment, Scan
from numbragg.models.sampling import Sampling
from numbragg.models.structure_factors import StructureFactors

# Machines are shared, and a kernel may have to be compiled first: how long an example takes says nothing. The same
# examples in every run: `--hypothesis-profile=search` looks for others.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")


@pytest.fixture
def windows(monkeypatch):
    """Figures that were shown: a display and a toolkit are there, as matplotlib sees it."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figures = []
    monkeypatch.setenv("DISPLAY", ":0")
    pyplot.switch_backend("agg")
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "a toolkit", raising=False)
    monkeypatch.setattr(pyplot, "show", lambda: figures.append(pyplot.gcf()))
    yield figures
    pyplot.close("all")


def random_table(reach: int, seed: int = 0) -> StructureFactors:
    """Amplitudes between 0 and 100 for indices from -reach to reach; no two are equal."""
    values = np.random.default_rng(seed).uniform(0.0, 100.0, (2 * reach + 1,) * 3)
    return StructureFactors((-reach, -reach, -reach), values)


def small_experiment(
    *,
    crystal: dict | None = None,
    beam: dict | None = None,
    detector: dict | None = None,
    scan: dict | None = None,
    **rest,
) -> Experiment:
    """A triclinic crystal in a general orientation before a detector of 17 x 12 pixels; any field can be replaced."""
    crystal = {
        "cell": (37.0, 42.0, 51.0, 82.0, 97.0, 104.0),
        "misset": (11.3, -27.1, 63.7),
        "n_cells": (5.0, 4.0, 3.0),
        "structure_factors": random_table(6),
        "default_f": 7.0,
        "interpolate": False,
        **(crystal or {}),
    }
    detector = {
        "n_fast": 17,
        "n_slow": 12,
        "pixel_size": 1.3,
        "distance": 60.0,
        "beam_fast": 10.4,
        "beam_slow": 8.3,
        **(detector or {}),
    }
    scan = {"start": 0.25, "sampling": Sampling(range=1.5, count=3), **(scan or {})}
    return Experiment(
        crystal=Crystal(**crystal),
        beam=Beam(**(beam or {})),
        detector=Detector(**detector),
        scan=Scan(**scan),
        **{"oversample": 1, **rest},
    )


@pytest.fixture(scope="session")
def make_experiment() -> Callable[..., Experiment]:
    return small_experiment


@pytest.fixture(scope="session")
def make_table() -> Callable[..., StructureFactors]:
    return random_table


@pytest.fixture
def in_a_folder_with_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder that holds the tables of the golden cases and a header whose keywords contain each other."""
    monkeypatch.chdir(link_inputs(tmp_path))
    text = (GOLDEN / "inputs" / "header.img").read_bytes()
    Path("end.img").write_bytes(text.replace(b"OSC_RANGE=0.5", b"END_OF_PHI=20"))
