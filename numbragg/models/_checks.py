"""Validation shared by the models: one clear line for whatever does not make sense."""

from typing import Any

import numpy as np

from numbragg.errors import NumbraggError


def require_finite(owner: str, **values: Any) -> None:
    """Refuse NaN and infinity (in the real or the imaginary part)."""
    for name, value in values.items():
        if value is not None and not np.all(np.isfinite(value)):
            raise NumbraggError(f"{owner}: {name} is not a finite number ({value})")


def require_positive(owner: str, **values: Any) -> None:
    """Refuse anything but finite numbers above zero (the real part decides)."""
    require_finite(owner, **values)
    for name, value in values.items():
        if value is not None and not np.all(np.real(value) > 0):
            raise NumbraggError(f"{owner}: {name} must be above zero, not {np.real(value)}")


def require_not_negative(owner: str, **values: Any) -> None:
    """Refuse numbers below zero (the real part decides)."""
    require_finite(owner, **values)
    for name, value in values.items():
        if value is not None and not np.all(np.real(value) >= 0):
            raise NumbraggError(f"{owner}: {name} must not be negative, but is {np.real(value)}")


def require_count(owner: str, **values: Any) -> None:
    """Refuse anything but whole numbers of at least one."""
    for name, value in values.items():
        if value is not None and (int(value) != value or value < 1):
            raise NumbraggError(f"{owner}: {name} must be a whole number of at least 1, not {value}")


def require_vector(owner: str, **values: Any) -> None:
    """Refuse vectors that have no direction."""
    require_finite(owner, **values)
    for name, value in values.items():
        if value is not None and (np.shape(value) != (3,) or not np.any(np.real(value))):
            raise NumbraggError(f"{owner}: {name} must be three numbers, not all zero ({value})")
