"""The values that a command line gave, by setting."""

import warnings
from collections.abc import Sequence
from typing import Any

from numbragg.compat.extras import NO_EXTRAS, Extras
from numbragg.compat.flag_table import FLAGS
from numbragg.compat.flags import Occurrence
from numbragg.errors import DeviationNote
from numbragg.models.instrument import Instrument
from numbragg.models.quirks import Quirks

FLAG_NAMES = {flag.key: flag.names[0] for flag in FLAGS}
"""Usual name of the flag of each setting."""


class Settings:
    """What was given last for each key of the flag table, and which defects are to be reproduced.

    Parameters
    ----------
    occurrences
        Matched flags in order of appearance.
    quirks
        Defects of nanoBragg.c to reproduce.
    instrument
        What a geometry file says, for what no flag sets.
    extras
        What long options say of sample and beam.
    """

    def __init__(
        self,
        occurrences: Sequence[Occurrence],
        quirks: Quirks,
        instrument: Instrument | None = None,
        extras: Extras = NO_EXTRAS,
    ) -> None:
        self.quirks = quirks
        self.instrument = instrument
        self.extras = extras
        self._order = [occurrence.flag.key for occurrence in occurrences]
        self._values = {occurrence.flag.key: occurrence.values for occurrence in occurrences}

    def given(self, *keys: str) -> bool:
        """Whether any of the settings was given."""
        return any(key in self._values for key in keys)

    def values(self, key: str) -> tuple[Any, ...] | None:
        """All values of a setting, None when it was not given."""
        return self._values.get(key)

    def get(self, *keys: str, default: Any = None) -> Any:
        """First value of whichever of the settings was given last."""
        key = self.last(*keys)
        return default if key is None else self._values[key][0]

    def last(self, *keys: str) -> str | None:
        """Which of the settings was given last."""
        for key in reversed(self._order):
            if key in keys:
                return key
        return None

    def note(self, register: str, text: str) -> None:
        """Tell that a defect of nanoBragg.c matters to this run (specs/40-compat.md)."""
        warnings.warn(
            f"{register} {text} differs from nanoBragg.c here; --compat c reproduces it "
            f"(specs/40-compat.md#{register.lower()})",
            DeviationNote,
            stacklevel=2,
        )
