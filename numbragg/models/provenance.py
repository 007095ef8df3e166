"""Where an image comes from: what it takes to simulate it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from numbragg.errors import NumbraggError

PLAIN = "-+.,/_@~*^()"
"""Characters beside letters and digits that stand for themselves in the text of the flags."""


@dataclass(frozen=True)
class Provenance:
    """Program, flags and seed of an image (specs/30-formats.md, 30.60).

    Parameters
    ----------
    version
        Of numbragg.
    flags
        The words behind ``numbragg simulate``, as they were given.
    seed
        Of the noise, as ``-seed`` takes it.
    image
        Number within a rotation series, from 1; 0 for an image that stands alone.
    """

    version: str
    flags: tuple[str, ...]
    seed: int
    image: int = 0

    def entries(self) -> dict[str, str]:
        """Keywords and values for the header of a file: printable ASCII without ``; = { } :``."""
        return {
            "NUMBRAGG_VERSION": quote(self.version, safe=PLAIN),
            "NUMBRAGG_FLAGS": " ".join(quote(word, safe=PLAIN) for word in self.flags),
            "NUMBRAGG_SEED": str(self.seed),
            "NUMBRAGG_IMAGE": str(self.image),
        }

    @classmethod
    def from_entries(cls, entries: Mapping[str, str]) -> "Provenance | None":
        """Read what `entries` wrote; None where there is none.

        Raises
        ------
        NumbraggError
            A seed or number that is not one.
        """
        if "NUMBRAGG_VERSION" not in entries:
            return None
        try:
            seed, image = int(entries.get("NUMBRAGG_SEED", "0")), int(entries.get("NUMBRAGG_IMAGE", "0"))
        except ValueError:
            raise NumbraggError("NUMBRAGG_SEED and NUMBRAGG_IMAGE must be whole numbers") from None
        flags = tuple(unquote(word) for word in entries.get("NUMBRAGG_FLAGS", "").split())
        return cls(unquote(entries["NUMBRAGG_VERSION"]), flags, seed, image)
