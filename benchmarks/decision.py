"""Whether a revision is slower, from times that other work on the machine disturbs (specs/60-performance.md, 60.30)."""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

Pair = tuple[float, float]
"""Seconds before and after, measured one right after the other."""

CONFIRMATIONS = 2
"""Fresh measurements that must all repeat a suspicion before it counts."""


class Comparison(NamedTuple):
    """Two ratios, after over before, that one disturbance does not move together."""

    minima: float
    median: float

    @property
    def ratio(self) -> float:
        """The more lenient of the two."""
        return min(self.minima, self.median)


class Decision(NamedTuple):
    """What was decided, and the comparisons that led there."""

    slower: bool
    comparisons: tuple[Comparison, ...]

    @property
    def ratio(self) -> float:
        """The ratio that decided: the smallest."""
        return min(comparison.ratio for comparison in self.comparisons)


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Compare the least times, and the median of the ratios of neighbours.

    Raises
    ------
    ValueError
        No pair, or a time that is not positive.
    """
    if not pairs or min(map(min, pairs)) <= 0.0:
        raise ValueError("pairs of positive times are needed")
    least = min(after for _, after in pairs) / min(before for before, _ in pairs)
    return Comparison(least, statistics.median(after / before for before, after in pairs))


def decide(measure: Callable[[int], Sequence[Pair]], factor: float, confirmations: int = CONFIRMATIONS) -> Decision:
    """Call a revision slower when the first measurement and every confirmation exceed the factor.

    Parameters
    ----------
    measure
        Gives pairs of times; its argument is 0 at first, then the number of the confirmation. It is called again only
        while the suspicion holds.
    factor
        Largest ratio, after over before, that passes.
    confirmations
        Fresh measurements that a suspicion must survive.
    """
    comparisons: list[Comparison] = []
    for attempt in range(confirmations + 1):
        comparisons.append(compare(measure(attempt)))
        if comparisons[-1].ratio <= factor:
            return Decision(False, tuple(comparisons))
    return Decision(True, tuple(comparisons))
