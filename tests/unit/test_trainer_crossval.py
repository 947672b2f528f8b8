"""What the recipe is held against sees no more than it may, and the table says what was judged."""

from datetime import UTC, datetime, timedelta

import numpy as np

from trainer.data.labelled import Labelled
from trainer.evaluate import crossval
from trainer.evaluate.truth import earlier
from worker.events.reflection import Reflection

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(number, person, value, *, hour):
    reflection = Reflection(
        id=f"{number}",
        user_id=person,
        text="t",
        created_at=START + timedelta(hours=hour),
        utc_offset_min=0,
    )
    return Labelled(reflection=reflection, labels={"valence": value, "arousal": value}, source="semeval2026")


def test_the_earlier_mean_knows_only_earlier_reports_of_the_same_person_and_ties_see_neither():
    judged = [
        row(0, "ann", 1.0, hour=0),
        row(1, "ann", 0.0, hour=5),
        row(2, "ann", 0.2, hour=5),
        row(3, "ben", 0.1, hour=9),
        row(4, "ann", 0.4, hour=9),
    ]
    truth = np.array([[one.labels["valence"]] * 2 for one in judged])

    means = earlier(judged, truth).mean[:, 0]

    expected = [0.5, (1.0 + 1.0) / 3, (1.0 + 1.0) / 3, 0.5, (1.0 + 0.0 + 0.2 + 1.0) / 5]
    np.testing.assert_allclose(means, expected)


def test_a_perfect_prediction_scores_one_and_the_table_names_rows_and_people():
    rng = np.random.default_rng(1)
    judged = [row(at, f"p{at % 5}", float(value), hour=at) for at, value in enumerate(rng.random(40))]
    truth = np.array([[one.labels["valence"]] * 2 for one in judged])

    scores = crossval.score(judged, {"itself": truth})
    shown = crossval.table(scores, 40, 5)

    assert scores["itself"]["valence"][0].value > 0.999
    assert scores["itself"]["arousal"][1] == 0
    assert str(shown.title) == "person-wise cross-validation: 40 rows of 5 people"
