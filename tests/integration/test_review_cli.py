"""`feltsense review` as a person calls it."""

from __future__ import annotations

import re

import psycopg
import pytest
from typer.testing import CliRunner

from tests.support.reviews import PASSWORD, at_risk, reviewers
from worker import cli
from worker.errors import FeltsenseError, UsageError
from worker.store.review_log import ChainBroken
from worker.store.reviews import CapReached, ReviewRefused


@pytest.fixture
def review(database_url):
    """Runs a sub-command on the test's database, `said` on its standard input; gives stdout and stderr, or
    raises what `feltsense` would tell."""

    def run(*arguments, said=f"{PASSWORD}\n", **settings):
        environment = {"FELTSENSE_DATABASE_URL": database_url, **settings}
        ran = CliRunner().invoke(cli.app, ["review", *arguments], input=said, env=environment)
        if isinstance(ran.exception, FeltsenseError):
            raise ran.exception
        assert ran.exit_code == 0, ran.output
        return ran.stdout, ran.stderr

    return run


def test_two_readers_and_a_third_in_the_terminal(store, database_url, review):
    at_risk(store, "a")
    reviewers(store, "bo", "cy")
    assert review("kappa") == ("", "no text has two verdicts yet\n")
    assert review("add-reviewer", "ann") == ("opened the account of ann\n", "")
    for said, word in (("short\n", "12-200 characters"), ("", "holds no password")):
        with pytest.raises(UsageError, match=word):
            review("add-reviewer", "dee", said=said)
    with pytest.raises(ReviewRefused, match="do not belong together"):
        review("next", "ann", said="not the password\n")

    taken, _ = review("next", "ann")
    assert "review of a text of high risk, for suicidal_ideation" in taken
    case = re.search(r"case ([0-9a-f-]{36})", taken)[1]
    with pytest.raises(ReviewRefused, match="not opened yet"):
        review("decide", "ann", case, "watch")
    assert review("read", "ann", case) == ("the words of a, revision 1\n", "")
    saved, urgent = review(
        "decide", "ann", case, "act_now", "--flag", "self_harm", "--note",
        said=f"{PASSWORD}\na plan,\nand a date\n", FELTSENSE_REVIEW_HELP="Call the duty phone",
    )  # fmt: skip
    assert saved == "saved\n"
    assert urgent.endswith("person u-a, reflection a\nCall the duty phone\n")

    review("next", "bo")
    assert review("read", "bo", case) == ("the words of a, revision 1\n", "")
    review("decide", "bo", case, "no_risk")
    review("next", "cy")
    assert "a reader said act_now: self_harm (a plan,\nand a date)\n" in review("read", "cy", case)[1]
    with pytest.raises(ReviewRefused, match="is to be adjudicated"):
        review("decide", "cy", case, "watch")
    review("adjudicate", "cy", case, "act_now")

    assert review("status")[0] == "0 wait for readers, 0 for a third opinion, 1 are settled\n"
    assert review("kappa")[0].splitlines() == [
        "all: 1 texts, 0% agree, kappa -1.00",
        "ann and bo: 1 texts, 0% agree, kappa 0.00",
    ]
    whole, _ = review("log", "verify")
    assert whole.startswith("ok: 9 entries, head 9:")
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE review_log DISABLE TRIGGER ALL")
        connection.execute("UPDATE review_log SET actor = 'eve' WHERE seq = 5")
    with pytest.raises(ChainBroken, match="entry 5 of the review log was changed") as broken:
        review("log", "verify", "--head", whole.split()[-1])
    assert broken.value.exit_code == 3


def test_the_weeks_limit_is_told_and_a_skipped_text_given_back(store, review):
    at_risk(store, "a", "b")
    reviewers(store, "ann")
    capped = {"FELTSENSE_REVIEW_WEEKLY_CAP": "1"}
    case = re.search(r"case (\S+):", review("next", "ann", **capped)[0])[1]
    review("read", "ann", case, **capped)
    assert review("skip", "ann", case) == ("skipped\n", "")
    with pytest.raises(CapReached, match="You have opened 1 texts within seven days, and 1 is the most"):
        review("next", "ann", **capped)
    assert review("close-reviewer", "ann")[0].startswith("closed the account of ann")
    with pytest.raises(ReviewRefused, match="do not belong together"):
        review("next", "ann")
