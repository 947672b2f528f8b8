"""Labels become arrays by the plan's weights, and a plan says what is wrong with itself."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from trainer import plan as plans
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.features import targets
from trainer.features.cache import EmbeddingCache
from trainer.plan import Linear, Plan, Source
from trainer.splits import selection
from worker.events.reflection import Reflection
from worker.events.taxonomy import taxonomy
from worker.events.variables import CORES, FLAGS

LINEAR = Linear(value=1.0, classes=0.1, flags=0.1)
HEADS = "[ngrams]\nvalue=1\nclasses=1\nflags=1\n[embedding]\nvalue=1\nclasses=1\nflags=1\n"
START = datetime(2026, 1, 1, tzinfo=UTC)


def plan(**changes):
    return Plan(**{"name": "test", "ngrams": LINEAR, "embedding": LINEAR, "sources": {}, **changes})


def row(number, labels, *, source="synthetic", person="ann"):
    reflection = Reflection(
        id=f"{number}",
        user_id=person,
        text=f"text {number}",
        created_at=START + timedelta(hours=number),
        utc_offset_min=0,
    )
    return Labelled(reflection=reflection, labels=labels, source=source)


def extract(rows, **changes):
    return targets.extract(rows, plan(**changes), taxonomy())


def test_paths_share_the_mass_and_no_path_is_none():
    found = extract(
        [
            row(0, {"expressed": [["Sad", "Lonely"], ["Angry"]]}),
            row(1, {"expressed": []}),
            row(2, {"valence": 0.2}),
        ]
    )

    assert dict(zip((*CORES, "none"), found.expressed[0], strict=True))["Sad"] == 0.5
    assert found.expressed[1].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert found.weight["expressed"][2] == 0
    assert found.nuances["expressed"][0].sum() == 1


def test_a_missing_label_has_no_weight_and_a_known_one_the_plans():
    found = extract(
        [row(0, {"valence": 0.2}), row(1, {"arousal": 0.4})],
        sources={"synthetic": Source(weight=0.5, weights={"valence": 0.2})},
    )

    assert found.weight["valence"].tolist() == [pytest.approx(0.1), 0]
    assert found.weight["arousal"].tolist() == [0, pytest.approx(0.5)]


def test_many_rows_of_one_person_weigh_less_each():
    rows = [row(at, {"valence": 0.5}, person="ann") for at in range(4)] + [
        row(9, {"valence": 0.5}, person="ben")
    ]

    found = extract(rows, sources={"synthetic": Source(person_power=0.5)})

    assert found.weight["valence"].tolist() == [0.5] * 4 + [1.0]


def test_narrow_scales_are_stretched_around_the_middle_and_clipped():
    rows = [row(at, {"valence": value}) for at, value in enumerate((0.5, 0.6, 0.9))]

    found = extract(rows, sources={"synthetic": Source(spread={"valence": 2.5})})

    np.testing.assert_allclose(found.values["valence"], [0.5, 0.75, 1.0])


def test_what_readers_saw_stands_in_for_what_was_felt_only_where_the_plan_says_so():
    rows = [row(0, {"expressed": [["Sad"]]}, source="goemotions"), row(1, {"invoked": [["Angry"]]})]

    borrowed = extract(rows, sources={"goemotions": Source(seen_as_felt=0.1)})
    not_borrowed = extract(rows)

    assert borrowed.invoked[0, CORES.index("Sad")] == 1
    assert borrowed.weight["invoked"].tolist() == [pytest.approx(0.1), 1.0]
    assert not_borrowed.weight["invoked"].tolist() == [0, 1.0]


def test_assumed_absence_never_covers_sarcasm_and_profanity():
    found = extract([row(0, {"valence": 0.4}, source="emobank")], sources={"emobank": Source(no_risk=0.3)})

    known = dict(zip(FLAGS, np.isfinite(found.risk[0]), strict=True))
    assert not known["sarcasm"]
    assert not known["profanity"]
    assert known["self_harm"]
    assert found.weight["risk"].tolist() == [0.3]


def test_a_plan_that_ships_refuses_a_source_that_may_not():
    rows = [row(0, {}, source="isear"), row(1, {}, source="goemotions")]

    with pytest.raises(TrainerError, match="isear"):
        selection.select(rows, plan())
    assert len(selection.select(rows, plan(ship=False))) == 2
    assert len(selection.select(rows, plan(sources={"isear": Source(weight=0)}))) == 1


def test_a_cap_takes_whole_people_and_the_same_ones_every_time():
    rows = [row(at, {}, person=f"p{at % 10}") for at in range(100)]
    capped = plan(sources={"synthetic": Source(cap=35)})

    first, again = selection.select(rows, capped), selection.select(rows, capped)

    assert [one.reflection.id for one in first] == [one.reflection.id for one in again]
    assert len(first) == 30
    assert len({one.reflection.user_id for one in first}) == 3


def test_the_shipped_plans_are_valid():
    assert {plans.read(path.stem).name for path in plans.FOLDER.glob("*.toml")} >= {"starter", "quick"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = ", "cannot be read"),
        ('name = "x"', "ngrams: Field required"),
        ('name = "x"\nsources = {}\nsurprise = 1\n' + HEADS, "surprise"),
    ],
)
def test_a_bad_plan_is_refused_with_the_field(tmp_path, text, named):
    (tmp_path / "plan.toml").write_text(text)

    with pytest.raises(TrainerError, match=named):
        plans.read(tmp_path / "plan.toml")


def test_a_plan_says_only_what_differs_from_its_base(tmp_path):
    (tmp_path / "common.toml").write_text(
        'name = "common"\n[sources.synthetic]\ncap = 5\nno_risk = 0.5\n' + HEADS
    )
    (tmp_path / "plan.toml").write_text('base = "common.toml"\nname = "own"\n[sources.synthetic]\ncap = 9\n')

    plan = plans.read(tmp_path / "plan.toml")

    assert plan.name == "own"
    assert (plan.source("synthetic").cap, plan.source("synthetic").no_risk) == (9, 0.5)


def test_a_base_that_is_not_there_is_named(tmp_path):
    (tmp_path / "plan.toml").write_text('base = "nowhere.toml"\nname = "own"\n')

    with pytest.raises(TrainerError, match=r"its base nowhere\.toml cannot be read"):
        plans.read(tmp_path / "plan.toml")


def test_an_unknown_plan_is_answered_with_the_known_ones():
    with pytest.raises(TrainerError, match="starter"):
        plans.read("no-such-plan")


def test_the_embedding_cache_gives_back_what_it_was_given_and_holds_no_text(tmp_path):
    cache = EmbeddingCache.open(tmp_path, encoder="a" * 64, width=2)
    cache.add(["good day", "bad day"], np.array([[1, 2], [3, 4]], dtype=np.float32))
    cache.save()

    again = EmbeddingCache.open(tmp_path, encoder="a" * 64, width=2)

    assert again.missing(["bad day", "new", "new"]) == ["new"]
    assert again.get(["bad day", "good day"]).tolist() == [[3, 4], [1, 2]]
    assert b"good day" not in next(tmp_path.iterdir()).read_bytes()
    assert EmbeddingCache.open(tmp_path, encoder="b" * 64, width=2).missing(["good day"]) == ["good day"]
