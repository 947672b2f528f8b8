"""What the benchmark calls flat: costs by level, memory by reflections done."""

import os

import numpy as np
import pytest

from benchmarks.growth import COSTS, compared
from benchmarks.memory import growth, holdings, resident


def blocks(*costs):
    return [dict.fromkeys(COSTS, cost) for cost in costs]


@pytest.mark.parametrize(
    ("full", "flat", "median"),
    [((1.0, 1.1, 1.2), True, 1.0), ((1.2, 1.32, 1.44), False, 1.2), ((9.0, 1.1, 1.2), True, 1.0)],
    ids=["the same", "a fifth dearer", "one odd block"],
)
def test_a_cost_is_flat_when_the_median_of_the_pairs_is_within_a_tenth(full, flat, median):
    report = compared({"0": blocks(1.0, 1.1, 1.2), "2000000": blocks(*full)})
    assert report["flat"] is flat
    ratio = report["ratios"]["2000000"]["cpu_ms"]
    assert ratio["median"] == pytest.approx(median)
    assert ratio["low"] <= ratio["median"] <= ratio["high"]


@pytest.mark.parametrize("slope", [0.0, 12.0])
def test_growth_of_memory_is_that_of_the_second_half_with_its_interval(slope):
    random = np.random.default_rng(0)
    done = np.linspace(0, 50_000, 400)
    start = np.minimum(done, 25_000) / 10_000 * 80  # what a worker takes while its shapes come
    rss = 500 + start + slope * done / 10_000 + random.normal(0, 0.5, 400)
    found, (low, high) = growth(done, rss, 50_000)
    assert low <= found <= high
    assert found == pytest.approx(slope, abs=0.5)


def test_what_holds_the_memory_of_a_process_adds_up_to_its_resident_memory():
    held = holdings(os.getpid())
    assert sum(held.values()) == pytest.approx(resident(os.getpid())["rss"], rel=0.05)
