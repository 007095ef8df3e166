"""`numbragg fmodel`: structure factors of an atomic model (specs/30-formats.md, clause 30.19)."""

import argparse
from pathlib import Path
from typing import NoReturn

from numbragg.errors import NumbraggError
from numbragg.models.reflections import Reflections

SUMMARY: str = "compute the structure factors of a PDB or mmCIF model"

_TEXT_SUFFIXES = (".hkl", ".txt")
_MTZ_SUFFIX = ".mtz"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NumbraggError(f"fmodel: {message} (numbragg fmodel --help)")


def main(argv: list[str]) -> int:
    """Run `numbragg fmodel` and give the exit status.

    Raises
    ------
    NumbraggError
        A wrong option, a model that cannot be used, or a file that cannot be written.
    """
    options = _parser().parse_args(argv)
    outputs = [Path(name) for name in options.output or [_default_output(options.model)]]
    for output in outputs:
        if output.suffix.lower() not in (*_TEXT_SUFFIXES, _MTZ_SUFFIX):
            raise NumbraggError(f"cannot write {output}: the name must end in .hkl, .txt or .mtz")
    from numbragg.fmodel import compute_structure_factors  # gemmi is not needed for --help or a wrong option

    reflections = compute_structure_factors(
        options.model,
        d_min=options.d_min,
        wavelength=options.wavelength,
        b_iso=options.b_iso,
        solvent=not options.no_solvent,
        k_sol=options.k_sol,
        b_sol=options.b_sol,
    )
    for output in outputs:
        _write(output, reflections, options.wavelength)
    _report(reflections, options.d_min, outputs)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="numbragg fmodel", description=SUMMARY.capitalize() + ".", allow_abbrev=False)
    parser.add_argument("model", metavar="MODEL", help="PDB or mmCIF file, plain or gzipped")
    parser.add_argument("--d-min", type=float, required=True, metavar="A", help="resolution limit in angstrom")
    parser.add_argument(
        "-o",
        "--output",
        action="append",
        metavar="FILE",
        help="file to write, .hkl (text) or .mtz; may be given several times (default: the model's name with .hkl)",
    )
    parser.add_argument(
        "--wavelength", type=float, metavar="A", help="wavelength in angstrom: adds f' and f'', Friedel mates differ"
    )
    parser.add_argument("--b-iso", type=float, metavar="B", help="B factor in A^2 for all atoms (default: the model's)")
    parser.add_argument("--no-solvent", action="store_true", help="leave out the bulk solvent")
    parser.add_argument(
        "--k-sol", type=float, default=0.35, metavar="K", help="solvent density in e/A^3 (default %(default)s)"
    )
    parser.add_argument(
        "--b-sol", type=float, default=46.0, metavar="B", help="solvent B factor in A^2 (default %(default)s)"
    )
    return parser


def _default_output(model: str) -> str:
    name = Path(model).name
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem + ".hkl"


def _write(output: Path, reflections: Reflections, wavelength: float | None) -> None:
    from numbragg.io.hkl import write_hkl
    from numbragg.io.mtz import write_mtz

    hkl, amplitudes, cell, space_group = reflections
    if output.suffix.lower() == _MTZ_SUFFIX:
        write_mtz(output, hkl, amplitudes, cell, space_group, wavelength=wavelength or 0.0)
    else:
        write_hkl(output, hkl, amplitudes)


def _report(reflections: Reflections, d_min: float, outputs: list[Path]) -> None:
    print("unit cell    " + " ".join(f"{number:g}" for number in reflections.cell or ()))
    print(f"space group  {reflections.space_group}")
    print(f"resolution   {d_min:g} A")
    print(f"reflections  {len(reflections.hkl)} in P1, F(0,0,0) included")
    for output in outputs:
        print(f"wrote        {output}")
