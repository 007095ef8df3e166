"""X-ray diffraction images on a CPU: nanoBragg's physics, vectorised and differentiable.

Names are imported when they are first used, so that ``import numbragg`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numbragg.comparison import compare as compare
    from numbragg.compat.build import parse_flags as parse_flags
    from numbragg.detector_effects import DetectorImage as DetectorImage
    from numbragg.detector_effects import detector_image as detector_image
    from numbragg.errors import NumbraggError as NumbraggError
    from numbragg.errors import NumbraggWarning as NumbraggWarning
    from numbragg.gradients.check import gradcheck as gradcheck
    from numbragg.gradients.jacobians import jacobian as jacobian
    from numbragg.gradients.linear_operator import image_function as image_function
    from numbragg.gradients.linear_operator import linear_operator as linear_operator
    from numbragg.gradients.linear_operator import value_and_grad as value_and_grad
    from numbragg.gradients.structure_factors import structure_factor_jacobian as structure_factor_jacobian
    from numbragg.gradients.structure_factors import structure_factor_operator as structure_factor_operator
    from numbragg.io.spectrum import read_spectrum as read_spectrum
    from numbragg.materials import amorphous_layer as amorphous_layer
    from numbragg.models.amorphous import AmorphousLayer as AmorphousLayer
    from numbragg.models.beam import Beam as Beam
    from numbragg.models.beam import SourceTable as SourceTable
    from numbragg.models.crystal import Crystal as Crystal
    from numbragg.models.detector import Detector as Detector
    from numbragg.models.effects import DetectorEffects as DetectorEffects
    from numbragg.models.experiment import Experiment as Experiment
    from numbragg.models.experiment import Roi as Roi
    from numbragg.models.experiment import Scan as Scan
    from numbragg.models.panel import Panel as Panel
    from numbragg.models.sampling import Sampling as Sampling
    from numbragg.models.spectrum import Spectrum as Spectrum
    from numbragg.models.structure_factors import StructureFactors as StructureFactors
    from numbragg.noise import poisson_noise as poisson_noise
    from numbragg.prediction import predict_reflections as predict_reflections
    from numbragg.refinement.driver import refine as refine
    from numbragg.refinement.result import RefinementResult as RefinementResult
    from numbragg.simulation import simulate as simulate
    from numbragg.simulation import simulate_background as simulate_background
    from numbragg.tracing import trace as trace

_HOME = {
    "parse_flags": "compat.build",
    "NumbraggError": "errors",
    "NumbraggWarning": "errors",
    "Beam": "models.beam",
    "SourceTable": "models.beam",
    "Spectrum": "models.spectrum",
    "read_spectrum": "io.spectrum",
    "Crystal": "models.crystal",
    "Detector": "models.detector",
    "Panel": "models.panel",
    "Experiment": "models.experiment",
    "Roi": "models.experiment",
    "Scan": "models.experiment",
    "Sampling": "models.sampling",
    "StructureFactors": "models.structure_factors",
    "poisson_noise": "noise",
    "DetectorEffects": "models.effects",
    "DetectorImage": "detector_effects",
    "detector_image": "detector_effects",
    "predict_reflections": "prediction",
    "refine": "refinement.driver",
    "RefinementResult": "refinement.result",
    "simulate": "simulation",
    "simulate_background": "simulation",
    "AmorphousLayer": "models.amorphous",
    "amorphous_layer": "materials",
    "compare": "comparison",
    "trace": "tracing",
    "gradcheck": "gradients.check",
    "jacobian": "gradients.jacobians",
    "image_function": "gradients.linear_operator",
    "linear_operator": "gradients.linear_operator",
    "value_and_grad": "gradients.linear_operator",
    "structure_factor_jacobian": "gradients.structure_factors",
    "structure_factor_operator": "gradients.structure_factors",
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
