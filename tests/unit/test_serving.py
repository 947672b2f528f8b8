"""Which bundle a worker begins with, and when an exchanged pipeline is let go."""

import threading

import pytest

from worker.service.bundles import activates
from worker.service.serving import NoModels, Serving


class Pipe:
    """As much of a pipeline as is needed to count it."""

    def __init__(self, version: str) -> None:
        self.model_version = version
        self.closed = False

    def close(self) -> None:
        assert not self.closed, "once"
        self.closed = True


@pytest.mark.parametrize(
    ("fresh", "explicit", "serving", "expected"),
    [
        (True, False, None, True),
        (False, False, None, True),
        (True, True, "other", True),
        (False, True, "other", False),
        (True, False, "other", False),
        (False, False, "other", False),
        (False, True, "own", False),
    ],
)
def test_a_worker_activates_its_bundle_only_where_none_serves_or_a_new_one_was_named(
    fresh, explicit, serving, expected
):
    assert activates("own", fresh=fresh, explicit=explicit, serving=serving) is expected


def test_an_exchanged_pipeline_is_closed_when_its_last_journey_has_ended():
    old, new = Pipe("old"), Pipe("new")
    serving = Serving(old)
    under_way = serving.begin(2)
    serving.switch(new)
    assert serving.version == "new"
    assert serving.full
    assert serving.retire() == []
    under_way.leave()
    assert (serving.retire(), old.closed) == ([], False)
    under_way.leave()
    assert (serving.retire(), old.closed) == (["old"], True)
    assert not serving.full
    serving.close()
    assert new.closed


def test_a_version_tried_beside_takes_over_or_leaves():
    first, second, third = Pipe("1"), Pipe("2"), Pipe("3")
    serving = Serving(first)
    serving.attempt(second)
    assert (serving.version, serving.tried) == ("1", "2")
    with serving.all_held() as held:
        assert [one.version for one in held] == ["1", "2"]
    serving.promote()
    assert (serving.version, serving.tried) == ("2", None)
    serving.attempt(third)
    serving.withdraw()
    assert sorted(serving.retire()) == ["1", "3"]


def test_who_waits_for_the_first_pipeline_gets_it_or_hears_that_it_is_over():
    serving, ended, got = Serving(), threading.Event(), []
    waiting = threading.Thread(target=lambda: got.append(serving.wait(1, ended)))
    waiting.start()
    serving.switch(Pipe("1"))
    waiting.join(10)
    assert got[0].version == "1"
    assert not got[0].idle

    ended.set()
    with pytest.raises(NoModels):
        Serving().wait(1, ended)


def test_who_works_with_one_version_keeps_no_other_open():
    serving = Serving(Pipe("1"))
    with serving.held():
        serving.switch(Pipe("2"))
        with serving.held_as("2") as held:
            assert held is not None
            assert held.version == "2"
            assert serving.full
    with serving.held_as("2"):
        assert serving.retire() == ["1"]
        assert not serving.full
    with serving.held_as("1") as held:
        assert held is None
