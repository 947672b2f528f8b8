"""Passwords, visits and agreement of reviewers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import UsageError
from worker.review import passwords
from worker.review.agreement import agreement, by_pair, overall
from worker.review.sessions import Sessions, Tries


def test_a_password_is_known_again_and_never_stored_as_it_is():
    one, other = passwords.kept("correct horse battery"), passwords.kept("correct horse battery")
    assert one != other
    assert "horse" not in one
    assert passwords.same("correct horse battery", one)
    assert not passwords.same("correct horse batterY", one)
    assert not passwords.same("x" * 1000, one)
    assert not passwords.same("correct horse battery", None)
    for wrong in ("short", "x" * 201):
        with pytest.raises(UsageError, match="12-200 characters"):
            passwords.kept(wrong)


@pytest.mark.parametrize(
    ("table", "kappa", "raw"),
    [
        # rows: the first reader; columns: the second. Cohen (1960)'s own formula by hand.
        ([[20, 5], [10, 15]], 0.4, 0.7),
        ([[45, 15], [25, 15]], 0.1304, 0.6),
        ([[25, 35], [5, 35]], 0.2593, 0.6),
        ([[0, 10], [10, 0]], -1.0, 0.0),
        ([[10, 0], [0, 10]], 1.0, 1.0),
    ],
)
def test_kappa_is_the_agreement_beyond_chance(table, kappa, raw):
    cells = [(row, column) for row in range(2) for column in range(2)]
    pairs = [("ab"[row], "ab"[column]) for row, column in cells for _ in range(table[row][column])]
    found = agreement(pairs)
    assert (found.kappa, found.raw) == (pytest.approx(kappa, abs=5e-5), raw)


def test_where_everybody_says_the_same_kappa_says_nothing():
    assert agreement([("watch", "watch")] * 9).kappa is None
    assert agreement([]) is None
    assert overall([]) is None


SAID = st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y", "z"]))
PAIRS = st.lists(st.tuples(SAID, SAID), min_size=1)


@given(PAIRS)
def test_who_is_named_first_makes_no_difference_to_all_together(pairs):
    turned = [(other, one) for one, other in pairs]
    assert overall(pairs) == overall(turned)
    assert sum(one.texts for one in by_pair(pairs).values()) == overall(pairs).texts == len(pairs)


class Clock:
    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


def test_a_visit_ends_when_idle_and_at_the_latest_after_a_working_day():
    clock = Clock()
    sessions = Sessions(clock)
    visit = sessions.begin("ann")
    for _ in range(19):
        clock.at += 25 * 60
        assert sessions.find(visit.token) is visit
    clock.at += 25 * 60
    assert sessions.find(visit.token) is None
    idle = sessions.begin("ann")
    clock.at += 31 * 60
    assert sessions.find(idle.token) is None
    assert sessions.find("guess") is sessions.find(None) is None


def test_visits_of_strangers_push_out_the_oldest_not_the_memory():
    clock = Clock()
    sessions = Sessions(clock)
    first = sessions.begin()
    clock.at += 1
    later = [sessions.begin() for _ in range(1000)]
    assert sessions.find(first.token) is None
    assert all(sessions.find(one.token) for one in later)


def test_five_wrong_passwords_a_name_and_fifty_in_all_within_a_quarter_of_an_hour():
    clock = Clock()
    tries = Tries(now=clock)
    for _ in range(5):
        assert tries.wait_s("ann") == 0
        tries.failed("ann")
    assert 899 <= tries.wait_s("ann") <= 901
    assert tries.wait_s("bo") == 0
    clock.at += 901
    assert tries.wait_s("ann") == 0
    for _ in range(4):
        tries.failed("ann")
    tries.passed("ann")
    tries.failed("ann")
    assert tries.wait_s("ann") == 0
    for n in range(50):
        tries.failed(f"n{n}")
    assert tries.wait_s("new") > 0
