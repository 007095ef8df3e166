"""Small images that the tests of comparing share."""

import numpy as np
from hypothesis import HealthCheck, settings

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def spotted(shape, places, height=100.0):
    """Peaks of different heights on an empty image."""
    image = np.zeros(shape)
    for number, place in enumerate(places):
        image[tuple(place)] = height + number
    return image


def noisy(seed=0, shape=(12, 17)):
    return np.random.default_rng(seed).gamma(2.0, 5.0, shape)
