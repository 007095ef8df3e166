"""``numbragg refine``: from flags and an image to a crystal (specs/55-refinement.md, 55.45 to 55.49)."""

import math
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from numbragg.cli._compiling import announce_compilation
from numbragg.cli._own_options import take_own_options
from numbragg.compat.options import LINE_HKL, MOSAIC_SPREADS, SAMPLE, split_options
from numbragg.errors import NumbraggError

USAGE = """\
usage: numbragg refine FLAGS --data IMAGE --free NAME,... --out DIR [options]

Fit parameters to the pixels of an image. FLAGS are those of numbragg simulate and say where to start.

  --data FILE               image: .img, .cbf, .npy or raw float32
  --free NAME,...           such as misset,cell,n_cells,scale,detector.distance
  --out DIR                 folder for result.json, summary.txt, flags.txt and refinement.png

the data
  --gain ADU                counts for each photon (default: 1)
  --adc-offset ADU          added to every pixel (default: ADC_OFFSET of an SMV header, else 0)
  --readout-noise ADU       deviation of every reading (default: 0)
  --overload ADU            from here on a pixel is not used (default: 65535 for 16-bit images)
  --box-background KIND     plane, constant, none, or an image of photons (default: plane)
  --likelihood NAME         gaussian, poisson or least-squares (default: gaussian)

the parameters
  --symmetry NAME           crystal system or space group (default: that of the cell's metric)
  --bounds "NAME=LOW,HIGH ..."
  --restraints "NAME=CENTRE,BETA ..."   BETA is a variance, in the square of the unit

the method
  --method NAME             trf, dogbox, lm, L-BFGS-B, trust-constr, Nelder-Mead, basinhopping,
                            differential_evolution (default: trf)
  --loss NAME               linear, soft_l1, huber, cauchy or arctan (default: linear)
  --cycles N                boxes are cut, and outliers dropped, anew in each (default: 2)
  --max-iterations N        of the method
  --threads N               threads to run (default: all cores)

exit code: 0, 2 for bad input, 3 when it did not converge, 130 for Ctrl-C, which leaves the best so far"""

NOT_CONVERGED = 3
INTERRUPTED = 130
SIXTEEN_BITS = 65535

_NUMBERS = {"--gain": "gain", "--readout-noise": "readout_sigma", "--overload": "overload"}
_COUNTS = {"--cycles": "cycles", "--max-iterations": "max_iterations"}
_WORDS = {"--likelihood": "likelihood", "--symmetry": "symmetry", "--method": "method", "--loss": "loss"}
_PAIRS = {"--bounds": "bounds", "--restraints": "restraints"}
_OWN = ("--data", "--free", "--out", "--adc-offset", "--box-background", *_NUMBERS, *_COUNTS, *_WORDS, *_PAIRS)
_SHOWN = 3
"""Parameters on a progress line."""


def main(argv: list[str]) -> int:
    """Run ``numbragg refine`` and return its exit code.

    Raises
    ------
    NumbraggError
        Wrong flags or options, files that cannot be read or written, and what `numbragg.refine` raises.
    """
    own, rest = take_own_options(argv, _OWN, "needs a value (numbragg refine --help)")
    options, words = split_options(rest)
    if options.get("help"):
        print(USAGE)
        return 0
    _check_needed(own, words)
    if options.get("compat", "spec") != "spec":
        raise NumbraggError("refine: mode c has no flags for a refined experiment; leave out --compat c")
    chosen = _chosen(own)
    folder = _folder(own["--out"])

    import numpy as np

    from numbragg.compat.build import build_job
    from numbragg.compat.more_options import add_options
    from numbragg.refinement.driver import refine

    with np.errstate(all="ignore"):
        geometry: Any = options.get("geometry")
        job = build_job(words, "spec", geometry=geometry, extras=_extras(options))
        experiment = add_options(job, options).experiment
        image, offset, overload = _read_data(own["--data"], experiment.detector.shape)
        chosen.setdefault("overload", overload)
        chosen["adc_offset"] = _number(own, "--adc-offset") if "--adc-offset" in own else offset
        chosen["background"] = _background(own.get("--box-background", "plane"), experiment.detector.shape)
        announce_compilation()
        threads: Any = options.get("threads")
        result = refine(
            experiment, image, free=_names(own["--free"]), callback=_print_iteration, threads=threads, **chosen
        )
        text = result.summary()
        files = _write(folder, result, text, words, options)
    print(text, end="")
    for name, path in files.items():
        print(f"{name:9s} {path}")
    if result.interrupted:
        return INTERRUPTED
    return 0 if result.success else NOT_CONVERGED


def _extras(options: dict[str, Any]) -> Any:
    from numbragg.compat.extras import MODEL_OF_LINES, extras_of

    if options.get(LINE_HKL.key) == MODEL_OF_LINES:
        raise NumbraggError(
            f"refine: {LINE_HKL.name} {MODEL_OF_LINES}: these tables change with what is refined; give files, one for "
            "each line (F_##.mtz)"
        )
    return extras_of(options)


def _long_options(options: dict[str, Any], refined: Any) -> list[str]:
    """Long options of the start that the refined experiment needs too."""
    given = {"--geometry": options["geometry"]} if "geometry" in options else {}
    given |= {option.name: str(options[option.key]) for option in SAMPLE if option.key in options}
    if refined.crystal.mosaic_spreads is not None:
        given[MOSAIC_SPREADS.name] = ",".join(repr(float(spread)) for spread in refined.crystal.mosaic_spreads)
    return [word for pair in given.items() for word in pair]


def _check_needed(own: dict[str, str], words: list[str]) -> None:
    if not words:
        raise NumbraggError("refine: no start: give flags as of numbragg simulate (numbragg refine --help)")
    missing = [name for name in ("--data", "--free", "--out") if name not in own]
    if missing:
        raise NumbraggError(f"refine: {', '.join(missing)} missing (numbragg refine --help)")


def _chosen(own: dict[str, str]) -> dict[str, Any]:
    """Arguments of `refine` that were given."""
    chosen: dict[str, Any] = {key: own[name] for name, key in _WORDS.items() if name in own}
    chosen |= {key: _number(own, name) for name, key in _NUMBERS.items() if name in own}
    chosen |= {key: _pairs(own, name) for name, key in _PAIRS.items() if name in own}
    for name, key in _COUNTS.items():
        if name in own:
            if not own[name].isdigit() or int(own[name]) < 1:
                raise NumbraggError(f"{name} takes a whole number of at least 1, not {own[name]}")
            chosen[key] = int(own[name])
    return chosen


def _number(own: dict[str, str], name: str) -> float:
    try:
        return float(own[name])
    except ValueError:
        raise NumbraggError(f"{name} takes a number, not {own[name]}") from None


def _pairs(own: dict[str, str], name: str) -> dict[str, tuple[float, float]]:
    pairs = {}
    for word in own[name].split():
        key, equals, values = word.rpartition("=")
        try:
            first, second = (float(value) for value in values.split(","))
        except ValueError:
            equals = ""
        if not equals:
            raise NumbraggError(f"{name} takes NAME=NUMBER,NUMBER, separated by blanks, not {word}")
        pairs[key] = (first, second)
    return pairs


def _names(text: str) -> list[str]:
    """Names between commas; the commas of ``structure_factor[h,k,l]`` do not part them."""
    names = [name.strip() for name in re.split(r",(?![^\[]*\])", text)]
    return [name for name in names if name]


def _folder(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NumbraggError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    return folder


def _read_data(path: str, shape: tuple[int, ...]) -> tuple[Any, float, float | None]:
    """Counts, (slow, fast), the offset that the file states, and the count at which its pixels are full."""
    import numpy as np

    from numbragg.io.image_file import read_image

    image = read_image(path)
    if image.ndim == 1:
        if image.size != math.prod(shape):
            size = " x ".join(str(count) for count in shape)
            raise NumbraggError(f"{path} has {image.size} pixels, the detector {size} (slow x fast)")
        image = image.reshape(shape)
    full = SIXTEEN_BITS if image.dtype == np.uint16 else None
    return image, _stated_offset(path), full


def _stated_offset(path: str) -> float:
    from numbragg.io.smv import read_smv_header

    with open(path, "rb") as stream:
        if stream.read(1) != b"{":
            return 0.0
    text = read_smv_header(path).get("ADC_OFFSET")
    if text is None:
        print(f"note: {path} does not state an ADC_OFFSET; 0 is taken (--adc-offset tells)", file=sys.stderr)
        return 0.0
    try:
        return float(text)
    except ValueError:
        raise NumbraggError(f"{path}: ADC_OFFSET in the header is not a number ({text})") from None


def _background(text: str, shape: tuple[int, ...]) -> Any:
    if text in ("plane", "constant"):
        return text
    if text == "none":
        return None
    if not os.path.exists(text):
        raise NumbraggError(f"--box-background takes plane, constant, none or the name of an image, not {text}")
    return _read_data(text, shape)[0]


def _print_iteration(step: Any) -> None:
    shown = "  ".join(f"{name} {value:.8g}" for name, value in list(step.values.items())[:_SHOWN])
    more = len(step.values) - _SHOWN
    print(
        f"{step.number:4d}  loss {step.loss:14.3f}  {step.passes:4d} passes  {step.seconds:6.1f} s  {shown}"
        + (f"  and {more} more" if more > 0 else ""),
        flush=True,
    )


def _write(folder: Path, result: Any, text: str, words: list[str], options: dict[str, Any]) -> dict[str, Path]:
    """Write the files of a result; each appears whole or not at all."""
    from numbragg.compat.refined_flags import matrix_text, needs_matrix, refined_flags
    from numbragg.io.atomic import atomic_write
    from numbragg.refinement.parameters import base_name

    refined = result.experiment
    matrix, table = folder / "refined.mat", folder / "refined_table.bin"
    names = {"beam.fluence" if base_name(name) == "scale" else base_name(name) for name in result.parameters}
    flags = refined_flags(
        words, refined, names, matrix=str(matrix), table=str(table), keep_table=not _computes_table(words)
    )
    flags += _long_options(options, refined)
    files = {"json": folder / "result.json", "summary": folder / "summary.txt", "flags": folder / "flags.txt"}
    contents = {"json": result.to_json(), "summary": text, "flags": shlex.join(flags) + "\n"}
    if needs_matrix(refined) and str(matrix) in flags:
        files["matrix"], contents["matrix"] = matrix, matrix_text(refined)
    for name, path in files.items():
        with atomic_write(path) as stream:
            stream.write(contents[name].encode())
    if str(table) in flags:
        from numbragg.io.fdump import write_fdump

        files["table"] = table
        write_fdump(table, refined.crystal.structure_factors, refined.crystal.default_f)
    picture = folder / "refinement.png"
    try:
        result.plot(picture)
    except NumbraggError as error:
        print(f"note: no picture: {error}", file=sys.stderr)
    else:
        files["picture"] = picture
    return files


def _computes_table(words: list[str]) -> bool:
    """Whether the flags compute amplitudes from a model, which depend on geometry and wavelength."""
    from numbragg.compat.flags import match_flags
    from numbragg.structure_factor_files import kind_suffix

    paths = [found.values[0] for found in match_flags(words, "spec") if found.flag.key == "hkl"]
    return bool(paths) and kind_suffix(Path(str(paths[-1]))) in (".pdb", ".cif", ".mmcif", ".ent")
