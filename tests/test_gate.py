"""The regression gate decides well on noisy times (specs/60-performance.md, 60.30 to 60.32). Nothing is timed here."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[1] / "benchmarks" / "decision.py"
FACTOR = 1.2
ROUNDS = 11
SEEDS = range(400)
"""Gates that are played through: a rate of false alarms of 1 % would show."""
FOUND = 0.9
"""Share of true slowdowns that are found; the price of asking three times on a machine as noisy as this."""

specification = importlib.util.spec_from_file_location("decision", SOURCE)
decision = importlib.util.module_from_spec(specification)
specification.loader.exec_module(decision)


def noisy_pairs(generator, slowdown, rounds=ROUNDS):
    """Pairs on a machine where other work steals time.

    A lasting difference of the two processes, a common drift, jitter, and outliers of up to four times.
    """
    lasting = np.exp(generator.normal(0.0, 0.06, 2))
    drift = generator.uniform(1.0, 1.5, rounds)
    jitter = 1.0 + generator.gamma(1.0, 0.08, (rounds, 2))
    outlier = np.where(generator.random((rounds, 2)) < 0.15, generator.uniform(1.0, 4.0, (rounds, 2)), 1.0)
    seconds = 0.05 * drift[:, None] * jitter * outlier * lasting * np.array([1.0, slowdown])
    return [tuple(pair) for pair in seconds]


def decide(seed, slowdown):
    generator = np.random.default_rng(seed)
    return decision.decide(lambda _: noisy_pairs(generator, slowdown), FACTOR)


class TestCompare:
    def test_identical_times_give_one(self):
        assert decision.compare([(2.0, 2.0), (3.0, 3.0)]) == (1.0, 1.0)

    def test_minima_and_median_are_those_of_the_definition(self):
        compared = decision.compare([(1.0, 4.0), (2.0, 3.0), (4.0, 8.0)])
        assert compared.minima == 3.0
        assert compared.median == 2.0
        assert compared.ratio == 2.0

    def test_one_lucky_round_before_does_not_decide(self):
        pairs = [(0.5, 1.0)] + [(1.0, 1.0)] * 6
        assert decision.compare(pairs).minima == 2.0
        assert decision.compare(pairs).ratio == 1.0

    def test_disturbed_rounds_after_do_not_decide(self):
        pairs = [(1.0, 3.0)] * 6 + [(1.0, 1.0)]
        assert decision.compare(pairs).median == 3.0
        assert decision.compare(pairs).ratio == 1.0

    @pytest.mark.parametrize("pairs", [[], [(0.0, 1.0)], [(1.0, 0.0)], [(1.0, -1.0)]])
    def test_impossible_times_are_refused(self, pairs):
        with pytest.raises(ValueError, match="positive"):
            decision.compare(pairs)

    @given(
        st.lists(st.tuples(*[st.floats(1e-3, 1e3)] * 2), min_size=1, max_size=9), st.sampled_from([0.25, 0.5, 2.0, 8.0])
    )
    def test_a_faster_clock_changes_nothing(self, pairs, unit):
        scaled = [(before * unit, after * unit) for before, after in pairs]
        assert decision.compare(scaled) == decision.compare(pairs)

    @given(st.lists(st.tuples(*[st.floats(1e-3, 1e3)] * 2), min_size=1, max_size=9))
    def test_order_of_the_rounds_changes_nothing(self, pairs):
        assert decision.compare(pairs[::-1]) == decision.compare(pairs)


class TestDecide:
    """Clause 60.31."""

    @staticmethod
    def scripted(*ratios):
        """A measurement that finds these ratios one after the other, and the list of the calls."""
        calls = []
        left = itertools.chain(ratios)

        def measure(attempt):
            calls.append(attempt)
            return [(1.0, next(left))] * ROUNDS

        return measure, calls

    def test_no_suspicion_is_not_measured_again(self):
        measure, calls = self.scripted(1.1)
        assert not decision.decide(measure, FACTOR).slower
        assert calls == [0]

    def test_the_factor_itself_passes(self):
        measure, _ = self.scripted(FACTOR)
        assert not decision.decide(measure, FACTOR).slower

    @pytest.mark.parametrize("ratios", [(1.5, 1.0), (1.5, 1.5, 1.0)])
    def test_one_confirmation_that_fails_clears(self, ratios):
        measure, calls = self.scripted(*ratios)
        decided = decision.decide(measure, FACTOR)
        assert not decided.slower
        assert decided.ratio == 1.0
        assert calls == list(range(len(ratios)))

    def test_two_fresh_confirmations_are_needed(self):
        measure, calls = self.scripted(1.5, 1.4, 1.6)
        decided = decision.decide(measure, FACTOR)
        assert decided.slower
        assert decided.ratio == 1.4
        assert calls == [0, 1, 2]


class TestOnANoisyMachine:
    """Clause 60.32."""

    def test_identical_code_gives_no_alarm(self):
        assert not any(decide(seed, 1.0).slower for seed in SEEDS)

    def test_noise_alone_raises_suspicions(self):
        """Without the confirmations there would be alarms, so the test above can fail."""
        suspected = sum(len(decide(seed, 1.0).comparisons) > 1 for seed in SEEDS)
        assert suspected > 0

    def test_a_slowdown_by_half_is_found(self):
        found = sum(decide(seed, 1.5).slower for seed in SEEDS)
        assert found >= FOUND * len(SEEDS)

    def test_a_speed_up_is_no_slowdown(self):
        assert not any(decide(seed, 0.7).slower for seed in SEEDS)
