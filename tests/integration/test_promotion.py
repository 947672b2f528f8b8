"""From a bundle folder to the one that serves, on a real database: compared, refused or promoted, gone back
from; with tiny bundles, one of which is better."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from typer.testing import CliRunner

from benchmarks.challengers import bent
from tests.support import bundles
from tests.support.appraisals import admit, appraisal, enrich, place, reflection
from trainer import cli as trainer_cli
from trainer.data import labelled, synthetic
from trainer.promote import live, switch
from trainer.promote.policy import POLICY, Gate, Policy
from worker.cli import app
from worker.errors import BundleRefused, UsageError
from worker.events.reflection import SelfReport
from worker.settings import Settings
from worker.store import models
from worker.store.perceptions import settle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VALENCE = Gate(variable="valence", metric="RMSE", better="lower", tolerance=0.01)
LENIENT = Policy(gates=(VALENCE,), least_rows=50, least_people=5)
"""Two bundles that differ in nothing but valence."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "synthetic.jsonl"
    synthetic.write(path, people=8, seed=21)
    return labelled.load([path])


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instance")
    return Settings(
        run_dir=folder / "run",
        cache_dir=folder / "cache",
        device_plan=("CPU",),
        temporal_device_plan=("CPU",),
    )


def always(value):
    """Bends a blend so that valence is always this."""

    def bend(blend):
        for name in ("valence", "text_valence"):
            blend["calibrators"][name] = {
                "kind": "isotonic", "x": [0.0, 1.0], "y": [value, value], "slope": 1.0, "intercept": 0.0,
            }  # fmt: skip

    return bend


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two bundles: one that finds everybody elated, and one that calls all neutral, which is nearer."""
    folder = tmp_path_factory.mktemp("bundles")
    bundles.write(folder / "tiny")
    return [bent(folder / "tiny", folder / f"{value}", always(value)) for value in (0.95, 0.5)]


def test_the_better_one_serves_and_the_worse_one_is_refused_with_figures(store, pair, rows, chosen):
    # given nothing that serves, the first bundle does at once
    worse, better = pair
    first = switch.promote(store, chosen, worse, rows=rows, policy=LENIENT)
    assert (first.done, first.verdict) == ("promoted", None)
    assert switch.promote(store, chosen, worse, rows=rows, policy=LENIENT).done == "serves already"

    # when a better one comes, it serves, and lies in the bundle store
    second = switch.promote(store, chosen, better, rows=rows, policy=LENIENT)
    assert second.done == "promoted"
    assert second.verdict is not None
    assert second.verdict.better
    serving = models.serving(store)
    assert (serving.version, serving.location) == (
        second.version,
        str((chosen.run_dir / "bundles" / second.version).absolute()),
    )

    # and the worse one, asked for again by its version, is refused, in words and figures that are kept
    third = switch.promote(store, chosen, first.version, rows=rows, policy=LENIENT)
    assert third.done == "refused"
    assert "valence RMSE" in third.verdict.reasons[0]
    refusal = models.history(store)[0]
    assert (refusal.version, refusal.kind) == (first.version, "refused")
    assert refusal.detail["reasons"] == list(third.verdict.reasons)
    assert refusal.detail["comparisons"][0]["worse"]
    assert models.active(store) == second.version

    # unless somebody says why
    forced = switch.promote(store, chosen, first.version, rows=(), force=True, reason="a test")
    assert forced.done == "promoted"
    assert models.history(store)[0].detail == {"by": "promote", "reason": "a test", "forced": True}


def test_a_rebuild_is_tried_until_somebody_promotes_it_or_serves_where_that_is_automatic(
    store, pair, rows, chosen
):
    worse, better = pair
    switch.consider(store, chosen, worse, rows=rows, automatic=False, policy=LENIENT)
    tried = switch.consider(store, chosen, better, rows=rows, automatic=False, policy=LENIENT)
    assert tried.done == "shadowed"
    assert models.challenger(store).version == tried.version
    assert models.listed(store)[1].decision.detail["decision"] == "promote"

    served = switch.consider(store, chosen, better, rows=rows, automatic=True, policy=LENIENT)
    assert served.done == "promoted"
    assert models.challenger(store) is None
    assert switch.consider(store, chosen, better, rows=rows, automatic=True).done == "serves already"


def test_too_little_to_compare_on_changes_nothing(store, pair, rows, chosen):
    worse, better = pair
    switch.promote(store, chosen, worse, rows=rows)
    asked = switch.promote(store, chosen, better, rows=rows[:20])
    assert (asked.done, asked.verdict.decision) == ("refused", "not enough data")
    assert "takes 200 rows" in asked.verdict.reasons[0]
    assert switch.consider(store, chosen, better, rows=rows[:20], automatic=True).done == "shadowed"
    assert models.active(store) != asked.version


def test_another_that_began_to_serve_meanwhile_is_not_replaced_by_what_was_not_compared_with_it(store):
    for version in ("a", "b", "c"):
        models.register(store, version, digest=version, manifest={})
    models.activate(store, "b")
    with pytest.raises(UsageError, match="does not serve any more"):
        models.activate(store, "c", over="a")
    assert models.active(store) == "b"


def test_a_rollback_walks_back_and_never_forth(store):
    for version in ("a", "b", "c", "d"):
        models.register(store, version, digest=version, manifest={})
        if version != "d":
            models.activate(store, version)

    def back():
        version = models.previous(store).version
        models.activate(store, version, kind="rolled_back")
        return version

    assert [back(), back()] == ["b", "a"]
    assert models.previous(store) is None
    models.activate(store, "d")
    assert back() == "a"
    models.activate(store, "c", kind="rolled_back")  # by name
    models.activate(store, "d")
    assert models.previous(store).version == "c"


def test_a_bundle_that_is_not_whole_or_not_known_is_refused_before_anything_changes(
    store, pair, chosen, tmp_path
):
    with pytest.raises(BundleRefused, match=r"manifest\.json"):
        switch.promote(store, chosen, tmp_path, rows=())
    with pytest.raises(UsageError, match="feltsense models"):
        switch.promote(store, chosen, "0123456789ab", rows=())
    assert models.history(store) == []
    models.register(store, "gone", digest="gone", manifest={}, location=str(tmp_path / "gone"))
    models.activate(store, "gone")
    with pytest.raises(UsageError, match="FELTSENSE_BUNDLE_STORE"):
        switch.promote(store, chosen, pair[0], rows=())


def shadowed(store, people, champion, challenger):
    """The same reflections under both versions: `champion` and `challenger` give valence, level."""
    given = [
        dataclasses.replace(
            reflection(f"r{n}", f"u-{n % people}", at_min=n),
            self_report=SelfReport(valence=0.5, arousal=None, emotion=None),
            consent_training=n % 10 != 0,
        )
        for n in range(260)
    ]
    admit(store, given)
    for version, (valence, level) in {"v1": champion, "v2": challenger}.items():
        told = [appraisal(one, level=level, score=0.9 if level == "high" else 0.0) for one in given]

        def placed(asked, valence=valence):
            return [dataclasses.replace(one, valence=valence) for one in place(asked)]

        settle(store, told, placed, model_version=version, timings=[{}] * len(given), again=version == "v2")


def test_live_traffic_speaks_against_who_misses_the_high_risk_and_what_people_reported(store):
    since = datetime.now(UTC) - timedelta(hours=1)
    assert live.look(store, champion="v1", challenger="v2", since=since) is None
    shadowed(store, 20, (0.6, "high"), (0.9, "none"))
    seen = live.look(store, champion="v1", challenger="v2", since=since)
    assert (seen.rows, seen.people, seen.reported) == (234, 18, 234)  # every tenth has no consent
    assert (seen.high, seen.missed) == (234, 1.0)
    assert seen.rmse == (pytest.approx(0.1), pytest.approx(0.4))
    against = seen.worse(POLICY)
    assert ["high-risk" in one or "valence RMSE" in one for one in against] == [True, True]
    assert live.look(store, champion="v2", challenger="v1", since=since).worse(POLICY) == []
    assert live.look(store, champion="v1", challenger="v2", since=datetime.now(UTC)) is None


@pytest.fixture
def asked(database_url, chosen, monkeypatch):
    """Runs a command on the test's database."""
    monkeypatch.setenv("FELTSENSE_DATABASE_URL", database_url)
    monkeypatch.setenv("FELTSENSE_RUN_DIR", str(chosen.run_dir))
    monkeypatch.setenv("FELTSENSE_CACHE_DIR", str(chosen.cache_dir))
    monkeypatch.setenv("FELTSENSE_DEVICE_PLAN", "CPU")
    monkeypatch.setenv("FELTSENSE_TEMPORAL_DEVICE_PLAN", "CPU")

    def run(*arguments):
        program = trainer_cli.commands if arguments[0] == "promote" else app
        return CliRunner().invoke(program, [str(one) for one in arguments])

    return run


def test_the_commands_tell_the_same_story(asked, store, pair, rows, tmp_path):
    worse, better = pair
    file = tmp_path / "few.jsonl"
    synthetic.write(file, people=2, seed=3)
    first = asked("promote", worse)
    assert (first.exit_code, "promoted" in first.output) == (0, True)
    refused = asked("promote", better, "--data", file, "--report", tmp_path / "verdict.json")
    assert refused.exit_code == 3
    assert "not enough data" in refused.output
    assert json.loads((tmp_path / "verdict.json").read_bytes())["decision"] == "not enough data"
    assert isinstance(asked("promote", better, "--force").exception, UsageError)
    assert asked("promote", better, "--force", "--reason", "a test").exit_code == 0

    old, new = (
        models.find(store, json.loads((one / "manifest.json").read_bytes())["model_version"]) for one in pair
    )
    assert asked("shadow", old.version).exit_code == 0
    listed = json.loads(asked("models", "--json").output)
    assert [(one["version"], one["state"]) for one in listed["versions"]] == [
        (new.version, "serves"),
        (old.version, "tried"),
    ]
    assert asked("shadow", "--off").exit_code == 0
    assert isinstance(asked("shadow").exception, UsageError)

    assert old.version in asked("rollback", "--reason", "a test").output
    assert isinstance(asked("rollback").exception, UsageError), "nothing served before that"
    assert "already" in asked("rollback", "--to", old.version).output
    told = asked("models", "--history").output
    assert "rolled back" in told
    assert "a test" in told
    assert "serves" in asked("models").output


def test_the_trainer_s_role_suffices(store, database_url, pair, rows, chosen, tmp_path):
    from worker.store import roles

    roles.apply(store)
    with psycopg.connect(database_url) as connection:
        name = f"trainer_{database_url.rsplit('_', 1)[1][:12]}"
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE feltsense_trainer".encode())
    from sqlalchemy import make_url

    from worker.store.engine import Store

    url = make_url(database_url).set(username=name, password="x").render_as_string(hide_password=False)
    with Store.open(url) as trainer:
        switch.promote(trainer, chosen, pair[0], rows=(), policy=LENIENT)
        shadowed(store, 20, (0.6, "none"), (0.9, "none"))
        enrich(store, [])
        since = datetime.now(UTC) - timedelta(hours=1)
        assert live.look(trainer, champion="v1", challenger="v2", since=since).rows == 234
