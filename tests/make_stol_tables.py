"""Write the tables of water and air that come with the package: ``python tests/make_stol_tables.py``.

Coherent scattering of free atoms (the form factors of International Tables C, 6.1.1.4, as gemmi gives them) put
together to molecules by Debye's formula. Gases scatter as free molecules. In water, neighbours have the distances that
g_OO says and no preferred orientation. g_OO is that of shells of normal width in a continuum, the form of Narten,
Danford & Levy (Discuss. Faraday Soc. 43, 97, 1967), with parameters fitted to what x-ray diffraction finds (Skinner et
al., J. Chem. Phys. 138, 074506, 2013): a first maximum of 2.57 at 2.80 A, a minimum of 0.84 at 3.45 A, a second maximum
of 1.12 at 4.5 A, 4.3 neighbours within 3.3 A; a second minimum near 5.6 A and a third maximum near 6.8 A, as figures
show them; and the compressibility of water at 25 degrees Celsius.

Left out: Compton scattering, which is as strong from about 1.2 A resolution on, and the shift of charge by chemical
bonds.
"""

from pathlib import Path

import gemmi
import numpy as np
from scipy.special import erf

from numbragg.io.stol import write_stol

TARGET = Path(__file__).parents[1] / "numbragg" / "data"

STOL = np.concatenate([np.arange(0, 200) * 0.005, np.arange(50, 101) * 0.02])
"""1/A."""

OH_BOND, HOH_ANGLE = 0.9572, np.radians(104.52)  # of the free molecule; A
NITROGEN_BOND, OXYGEN_BOND = 1.0977, 1.2075  # A
AIR = {"N": 0.7809, "O": 0.2095, "Ar": 0.0093}  # parts by volume

MOLECULES = 0.03333  # 1/A^3
SHELLS = np.array([[3.081, 2.797, 0.164], [1.593, 3.265, 0.311], [15.676, 4.491, 0.726], [26.599, 6.332, 0.869]])
"""Molecules in the shell, its radius (A) and its width (A)."""
CONTINUUM = (7.0, 0.843)
"""Where the continuum begins, and the width of its edge, A."""


def form_factor(symbol: str, stol: np.ndarray) -> np.ndarray:
    """Electrons of a free atom."""
    coefficients = gemmi.Element(symbol).it92
    return np.array([coefficients.calculate_sf(x * x) for x in stol])


def interference(q: np.ndarray, distance: float) -> np.ndarray:
    """Debye's sin(q r)/(q r)."""
    return np.sinc(q * distance / np.pi)


def structure_factor(q: np.ndarray) -> np.ndarray:
    """S_OO of the model."""
    edge, width = CONTINUUM
    x = np.maximum(q * edge, 1e-3)  # the series at 0 is exact to 1e-7 there
    hole = 4.0 * np.pi * MOLECULES * edge**3 * (np.sin(x) - x * np.cos(x)) / x**3
    total = 1.0 - hole * np.exp(-0.5 * (width * q) ** 2)
    for count, radius, sigma in SHELLS:
        total += count * interference(q, radius) * np.exp(-0.5 * (sigma * q) ** 2)
    return total


def pair_distribution(r: np.ndarray) -> np.ndarray:
    """g_OO of the model, to which `structure_factor` belongs."""

    def normal(x: np.ndarray, sigma: float) -> np.ndarray:
        return np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))

    edge, width = CONTINUUM
    inside = 0.5 * (erf((edge - r) / (width * np.sqrt(2.0))) + erf((edge + r) / (width * np.sqrt(2.0))))
    total = 1.0 - inside + width**2 / r * (normal(edge - r, width) - normal(edge + r, width))
    for count, radius, sigma in SHELLS:
        total += (
            count / (4.0 * np.pi * MOLECULES * radius * r) * (normal(r - radius, sigma) - normal(r + radius, sigma))
        )
    return total


def water(stol: np.ndarray) -> np.ndarray:
    """Amplitude of a molecule of liquid water, electrons."""
    q = 4.0 * np.pi * stol
    oxygen, hydrogen = form_factor("O", stol), form_factor("H", stol)
    to_hydrogen = interference(q, OH_BOND)
    between = interference(q, 2.0 * OH_BOND * np.sin(HOH_ANGLE / 2.0))
    molecule = oxygen**2 + 2.0 * hydrogen**2 + 4.0 * oxygen * hydrogen * to_hydrogen + 2.0 * hydrogen**2 * between
    seen_from_oxygen = oxygen + 2.0 * hydrogen * to_hydrogen
    return np.sqrt(molecule + seen_from_oxygen**2 * (structure_factor(q) - 1.0))


def air(stol: np.ndarray) -> np.ndarray:
    """Amplitude of a mean molecule of dry air, electrons."""
    q = 4.0 * np.pi * stol
    pairs = {"N": NITROGEN_BOND, "O": OXYGEN_BOND}
    total = AIR["Ar"] * form_factor("Ar", stol) ** 2
    for symbol, bond in pairs.items():
        total += AIR[symbol] * 2.0 * form_factor(symbol, stol) ** 2 * (1.0 + interference(q, bond))
    return np.sqrt(total)


def main() -> None:
    """Replace the tables."""
    derived = "Derivation: specs/10-physics.md, clause 10.91, and tests/make_stol_tables.py"
    write_stol(TARGET / "water.stol", STOL, water(STOL), ["Liquid water, one molecule, coherent scattering.", derived])
    write_stol(TARGET / "air.stol", STOL, air(STOL), ["Dry air, one mean molecule, coherent scattering.", derived])


if __name__ == "__main__":
    main()
