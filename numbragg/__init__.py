"""X-ray diffraction images on a CPU: nanoBragg's physics, vectorised and differentiable.

Names are imported when they are first used, so that ``import numbragg`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numbragg.comparison import compare as compare
    from numbragg.compat.build import parse_flags as parse_flags
    from numbragg.errors import NumbraggError as NumbraggError
    from numbragg.errors import NumbraggWarning as NumbraggWarning
    from numbragg.models.beam import Beam as Beam
    from numbragg.models.beam import SourceTable as SourceTable
    from numbragg.models.crystal import Crystal as Crystal
    from numbragg.models.detector import Detector as Detector
    from numbragg.models.experiment import Experiment as Experiment
    from numbragg.models.experiment import Roi as Roi
    from numbragg.models.experiment import Scan as Scan
    from numbragg.models.sampling import Sampling as Sampling
    from numbragg.models.structure_factors import StructureFactors as StructureFactors
    from numbragg.noise import poisson_noise as poisson_noise
    from numbragg.simulation import simulate as simulate
    from numbragg.tracing import trace as trace

_HOME = {
    "parse_flags": "compat.build",
    "NumbraggError": "errors",
    "NumbraggWarning": "errors",
    "Beam": "models.beam",
    "SourceTable": "models.beam",
    "Crystal": "models.crystal",
    "Detector": "models.detector",
    "Experiment": "models.experiment",
    "Roi": "models.experiment",
    "Scan": "models.experiment",
    "Sampling": "models.sampling",
    "StructureFactors": "models.structure_factors",
    "poisson_noise": "noise",
    "simulate": "simulation",
    "compare": "comparison",
    "trace": "tracing",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'numbragg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"numbragg.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
