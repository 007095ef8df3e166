"""Run by the Python of DIALS: what it thinks of a processed series, as JSON on the last line."""

import json
import sys

import numpy as np
from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentListFactory


def geometry(path):
    experiment = ExperimentListFactory.from_json_file(path, check_format=False)[0]
    panel, beam = experiment.detector[0], experiment.beam
    scan, goniometer = experiment.scan, experiment.goniometer
    return {
        "origin": panel.get_origin(),
        "fast_axis": panel.get_fast_axis(),
        "slow_axis": panel.get_slow_axis(),
        "pixel_size": panel.get_pixel_size()[0],
        "image_size": panel.get_image_size(),
        "beam_direction": [-x for x in beam.get_sample_to_source_direction()],
        "wavelength": beam.get_wavelength(),
        "spindle_axis": goniometer.get_rotation_axis() if goniometer else None,
        "oscillation": scan.get_oscillation() if scan else None,
        "images": scan.get_num_images() if scan else None,
    }


def panels(path):
    experiment = ExperimentListFactory.from_json_file(path, check_format=True)[0]
    images = experiment.imageset
    return {
        "panels": [
            {
                "name": panel.get_name(),
                "origin": panel.get_origin(),
                "fast_axis": panel.get_fast_axis(),
                "slow_axis": panel.get_slow_axis(),
                "pixel_size": panel.get_pixel_size(),
                "image_size": panel.get_image_size(),
            }
            for panel in experiment.detector
        ],
        "wavelength": experiment.beam.get_wavelength(),
        "oscillation": experiment.scan.get_oscillation() if experiment.scan else None,
        "pixels": [[panel.as_numpy_array().tolist() for panel in images.get_raw_data(i)] for i in range(len(images))],
        "mask": [panel.as_numpy_array().tolist() for panel in images.get_mask(0)],
    }


def figures(folder):
    indexed = flex.reflection_table.from_file(f"{folder}/indexed.refl")
    refined = flex.reflection_table.from_file(f"{folder}/refined.refl")
    used = refined.select(refined.get_flags(refined.flags.used_in_refinement))
    difference = np.array(used["xyzcal.px"]) - np.array(used["xyzobs.px.value"])
    integrated = flex.reflection_table.from_file(f"{folder}/integrated.refl")
    whole = integrated.select(integrated.get_flags(integrated.flags.integrated_sum) & (integrated["partiality"] > 0.99))
    return {
        "indexed": sum(indexed.get_flags(indexed.flags.indexed)) / len(indexed),
        "spots": len(indexed),
        "rmsd": np.sqrt((difference**2).mean(axis=0)).tolist(),
        "hkl": np.array(whole["miller_index"]).tolist(),
        "intensity": (np.array(whole["intensity.sum.value"]) * np.array(whole["lp"])).tolist(),
    }


if __name__ == "__main__":
    print(json.dumps({"geometry": geometry, "panels": panels, "figures": figures}[sys.argv[1]](sys.argv[2])))
