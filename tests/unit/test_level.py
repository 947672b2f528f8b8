"""Levels and the floor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.events.variables import FLAGS, LEVELS
from worker.risk.level import SEVERE, THRESHOLDS, combine, leading, level, uncalibrated

SCORES = st.lists(st.floats(0, 1), min_size=len(FLAGS), max_size=len(FLAGS))


def scores(**flags: float) -> list[float]:
    return [flags.get(flag, 0.0) for flag in FLAGS]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, "none"),
        *(({flag: 0.55}, "high") for flag in sorted(SEVERE)),
        ({"suicidal_ideation": 0.4}, "medium"),
        ({"suicidal_ideation": 0.24}, "low"),
        ({"suicidal_ideation": 0.1}, "none"),
        ({"sociopathic_cues": 0.9}, "medium"),
        ({"sociopathic_cues": 0.5}, "none"),
        ({"sarcasm": 0.9}, "low"),
        ({"profanity": 0.99}, "low"),
        ({"profanity": 0.25}, "none"),
        ({"profanity": 0.99, "abuse": 0.6}, "high"),
    ],
)
def test_level_of_scores(flags: dict[str, float], expected: str) -> None:
    assert level(scores(**flags)) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, SEVERE),
        ({"profanity": 0.99, "abuse": 0.6}, {"abuse"}),
        ({"suicidal_ideation": 0.9, "self_harm": 0.5, "abuse": 0.49}, {"suicidal_ideation", "self_harm"}),
        ({"abuse": 0.4, "sociopathic_cues": 0.7, "sarcasm": 0.9}, {"abuse", "sociopathic_cues"}),
        ({"sarcasm": 0.9, "profanity": 0.2}, {"sarcasm"}),
    ],
)
def test_the_flags_that_make_the_level_are_those_that_reach_it_alone(flags, expected) -> None:
    assert leading(dict(zip(FLAGS, scores(**flags), strict=True)), THRESHOLDS) == expected


@given(SCORES)
def test_each_leading_flag_alone_gives_the_same_level(values: list[float]) -> None:
    reached = level(values)
    for flag in leading(dict(zip(FLAGS, values, strict=True)), THRESHOLDS) if reached != "none" else ():
        alone = [value if name == flag else 0.0 for name, value in zip(FLAGS, values, strict=True)]
        assert level(alone) == reached


def test_the_order_keeps_apart_what_floor_and_calibration_make_equal() -> None:
    floor, logits = [0.9, 0.9, 0.0, 0.0], [-3.0, -1.0, -4.0, 800.0]
    assert combine(floor, [0.1, 0.4, 0.02, 1.0])[0] == combine(floor, [0.1, 0.4, 0.02, 1.0])[1]
    order = uncalibrated(floor, logits)
    assert order[2] < order[0] < order[1] < order[3] <= 1


def test_thresholds_are_the_callers() -> None:
    assert level(scores(abuse=0.6), {**THRESHOLDS, "abuse": 0.9}) == "low"


def test_a_missing_threshold_or_flag_is_an_error() -> None:
    with pytest.raises(KeyError):
        level(scores(), {"abuse": 0.5})
    with pytest.raises(ValueError):
        level([0.0])


@given(SCORES, SCORES)
def test_no_model_brings_the_level_below_the_floor(floor: list[float], model: list[float]) -> None:
    both = combine(floor, model)
    assert (both >= floor).all()
    assert (both >= model).all()
    assert LEVELS.index(level(both)) >= LEVELS.index(level(floor))


def test_a_flag_without_a_model_keeps_its_floor() -> None:
    assert combine([0.3, 0.2], [np.nan, 0.9]).tolist() == [0.3, 0.9]
