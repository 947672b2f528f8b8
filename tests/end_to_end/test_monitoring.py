"""A running instance as people on call see it: Flower in a real browser, a real Prometheus that asks every
question of the dashboard, and `feltsense status`. With FELTSENSE_PICTURES=docs/pictures it makes the pictures
of docs/monitoring.md."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from pydantic import SecretStr

from monitoring import picture
from monitoring.dashboard import FILE, ROWS, dashboard
from tests.integration.test_embedded_supervisor import Instance, until
from tests.support.browser import browser
from tests.support.browser import picture as picture_of
from tests.support.events import event
from tests.support.program import feltsense
from tests.support.prometheus import CONFIG, program, prometheus
from tests.support.service import bundle
from worker.client.publisher import Publisher
from worker.embedded import home
from worker.embedded.postgres import free_port
from worker.embedded.supervisor import APP, environment, flower_options, flower_url
from worker.events.message import BULK, LIVE
from worker.service.readiness import answers
from worker.settings import Settings

__all__ = ["browser", "bundle"]
LIVE_EVENTS, BULK_EVENTS = 60, 60
REJECTED = 2
TEXTS = (
    "I passed the exam and everybody hugged me",
    "Aaj office mein bahut thakan ho gayi yaar",
    "I want to end my life tonight, I cannot go on",
    "Ich weiß nicht, was ich heute machen soll",
    "Nothing much happened, we cooked and slept early",
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The instance after its work, and the Prometheus that watched it."""

    instance: Instance
    prometheus_url: str
    started: float

    @property
    def addresses(self) -> dict[str, str]:
        return self.instance.addresses

    def ask(self, query: str) -> list[float]:
        return [
            float(one["value"][1])
            for one in picture.ask(self.prometheus_url, "query", query=picture.bound(query))
        ]


def keep(page: Page, name: str) -> None:
    """A picture as `tests.support.browser` takes it, in few colours: it lies in the repository."""
    picture_of(page, name)
    if folder := os.environ.get("FELTSENSE_PICTURES"):
        path = Path(folder) / f"{name}.png"
        with Image.open(path) as taken:
            few = taken.convert("RGB").quantize(32)
        few.save(path, optimize=True)
        assert path.stat().st_size < 150_000


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Seen]:
    """Everything published is done, and Prometheus knows it."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    instance = Instance(folder, bundle, retention_days="365")
    try:
        instance.ready()
        until(lambda: answers(instance.addresses["exporter_url"]), 60)
        until(lambda: len(list((instance.run_dir / "metrics").glob("*.json"))) == 3, 60)
        with prometheus(instance.run_dir, folder / "prometheus") as url:
            made = Seen(instance=instance, prometheus_url=url, started=time.time())
            until(lambda: made.ask("up") == [1, 1, 1], 60)
            _work(instance.addresses)
            expected = LIVE_EVENTS + BULK_EVENTS
            until(lambda: sum(made.ask('feltsense_events_total{outcome="written"}')) >= expected, 90)
            with Publisher.connect(instance.addresses["broker_url"]) as publisher:
                publisher.delete(["l-0"])
                publisher.erase(["u-6"])
            until(lambda: made.ask("sum(feltsense_dead_letters_waiting)") == [REJECTED], 60)
            until(lambda: made.ask("rate(feltsense_events_total{outcome='rejected'}[1m])") > [0], 60)
            yield made
    finally:
        if instance.process.poll() is None:
            instance.end(signal.SIGTERM)
        home.remove(instance.run_dir / "postgres")


def _work(addresses: dict[str, str]) -> None:
    with Publisher.connect(addresses["broker_url"]) as publisher:
        bulk = [event(f"b-{n}", f"u-{n % 7}", text=TEXTS[n % 5], day=n % 20 + 1) for n in range(BULK_EVENTS)]
        publisher.publish_many(bulk, lane=BULK, chunk=20)
        for n in range(LIVE_EVENTS):
            publisher.publish(event(f"l-{n}", f"u-{n % 7}", text=TEXTS[n % 5], day=n % 20 + 1), lane=LIVE)
            time.sleep(0.1)
        for n in range(REJECTED):
            publisher.publish(event(f"r-{n}", text=" "), lane=LIVE)
            time.sleep(2.0)


def test_the_rules_do_what_they_are_for() -> None:
    tool = program("promtool")
    tests = CONFIG.parent / "rules.test.yml"
    for arguments in (("check", "config", CONFIG), ("test", "rules", tests)):
        ended = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_dashboard_file_is_the_one_that_is_tested() -> None:
    assert json.loads(FILE.read_text()) == dashboard(), "run: python -m monitoring.dashboard"


@pytest.mark.timeout(400)
def test_every_question_of_the_dashboard_has_an_answer_or_a_reason(seen: Seen) -> None:
    asks = [ask for row in ROWS for panel in row.panels for ask in panel.asks]
    assert len(asks) > 40
    assert not [ask.expr for ask in asks if not ask.empty and not seen.ask(ask.expr)]


@pytest.mark.timeout(400)
def test_no_alert_of_ours_fires_on_a_sound_instance_and_all_are_loaded(seen: Seen) -> None:
    with urllib.request.urlopen(f"{seen.prometheus_url}/api/v1/rules") as answer:
        [group] = json.load(answer)["data"]["groups"]
    assert len(group["rules"]) > 20
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    pages = [one for rule in group["rules"] for one in rule["alerts"] if one["labels"]["severity"] == "page"]
    assert [one for one in pages if one["state"] == "firing"] == []


@pytest.mark.timeout(400)
def test_the_numbers_are_those_of_the_database(seen: Seen) -> None:
    def asked(query: str) -> list[Any]:
        with psycopg.connect(seen.addresses["database_url"]) as connection:
            return [value for (value,) in connection.execute(query.encode())]

    version = asked("SELECT version FROM model_versions WHERE active")
    waiting = "SELECT count(*) FROM risk_queue WHERE level = 'high'"  # it may still grow
    served = f'feltsense_active_model{{version="{version[0]}"}} and on (version) feltsense_model'
    assert seen.ask(served) == [1]
    until(lambda: seen.ask('feltsense_risk_waiting{level="high"}') == asked(waiting), 60)
    assert seen.ask('feltsense_unsupported_languages_total{language="other"}') >= [1]
    assert sum(seen.ask("feltsense_risks_total")) == LIVE_EVENTS + BULK_EVENTS
    assert seen.ask("feltsense_workers") == [1]
    assert set(seen.ask("feltsense_up")) == {1}


@pytest.mark.timeout(400)
def test_no_series_names_a_person_a_reflection_or_a_text(seen: Seen) -> None:
    with urllib.request.urlopen(f"{seen.prometheus_url}/api/v1/series?match[]={{job='feltsense'}}") as answer:
        told = json.load(answer)["data"]
    values = {value for series in told for value in series.values()}
    assert len(told) < 2000, "every series costs memory"
    for word in ("u-1", "l-1", "b-1", "exam", "office"):
        assert not [value for value in values if word in value]


@pytest.mark.timeout(400)
def test_flower_wants_a_login_and_tells_workers_tasks_results_and_queues_but_no_text(
    seen: Seen, browser: BrowserContext
) -> None:
    parts = urlsplit(seen.addresses["flower_url"])
    bare = f"http://127.0.0.1:{parts.port}"
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(bare + path)
    assert parts.password
    assert parts.password not in "".join(seen.instance.holders().values())

    page = browser.new_page()
    page.set_viewport_size({"width": 1500, "height": 700})
    page.goto(seen.addresses["flower_url"])
    expect(page.locator("#workers-table")).to_contain_text("Online")
    expect(page.locator("#workers-table")).to_contain_text("celery@")
    keep(page, "flower-workers")

    page.goto(f"{bare}/tasks")
    table = page.locator("#tasks-table")
    for name in ("feltsense.enrich", "feltsense.erase", "feltsense.delete"):
        expect(table).to_contain_text(name)
    expect(table).to_contain_text("SUCCESS")
    expect(table).to_contain_text("'erased': ")
    expect(table).to_contain_text("'deleted': 1")
    keep(page, "flower-tasks")
    told = table.inner_text()

    assert "Inspect method" not in (seen.instance.run_dir / "logs" / "flower.log").read_text()
    page.locator("#tasks-table tbody a", has_text="-").first.click()
    expect(page.locator("body")).to_contain_text("SUCCESS")
    told += page.locator("body").inner_text()
    page.goto(f"{bare}/broker")
    expect(page.locator("body")).to_contain_text("reflections.bulk")
    keep(page, "flower-broker")
    told += page.content()
    assert urlsplit(seen.addresses["broker_url"]).password not in told
    assert not [word for text in TEXTS for word in (text, "exam", "hugged", "thakan") if word in told]
    tasks = _api(seen.addresses["flower_url"], "/api/tasks")
    assert len(tasks) >= LIVE_EVENTS + 3 + REJECTED + 2
    assert {one["state"] for one in tasks.values()} == {"SUCCESS"}
    assert all(one["name"] for one in tasks.values())
    assert sum("'written': 20" in one["result"] for one in tasks.values()) == BULK_EVENTS / 20
    assert "exam" not in json.dumps(tasks)


def _api(flower_url: str, path: str) -> dict[str, dict[str, str]]:
    parts = urlsplit(flower_url)
    login = base64.b64encode(f"{parts.username}:{unquote(parts.password or '')}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{parts.port}{path}", headers={"Authorization": f"Basic {login}"}
    )
    with urllib.request.urlopen(request) as answer:
        told: dict[str, dict[str, str]] = json.load(answer)
    return told


@pytest.mark.timeout(400)
def test_status_shows_it_all_on_one_screen_and_to_programs(seen: Seen) -> None:
    where = {"FELTSENSE_RUN_DIR": str(seen.instance.run_dir)}
    ended = feltsense("status", "--json", **where)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert {one["name"] for one in told["services"]} == {
        "broker", "database", "worker", "beat", "exporter", "workers", "flower", "review queue",
    }  # fmt: skip
    assert told["dead_letters"] == {"blank_text": REJECTED}
    assert set(told["lanes"]) == {LIVE, BULK}
    assert all(lane["waiting"] == 0 and lane["oldest_s"] == 0 for lane in told["lanes"].values())
    assert told["risk"]["high"]["count"] > 0
    assert len(told["pulses_s"]) == 1
    assert sum(one["rows"] for one in told["devices"] if one["component"] == "encoder") > 0

    screen = feltsense("status", **where).stdout.decode()
    words = ("broker", f"{REJECTED} blank_text", "reflections.bulk", told["model"]["version"], "encoder CPU")
    assert not [word for word in words if word not in screen], screen
    assert len(screen.splitlines()) <= 30
    assert not [text for text in TEXTS if text[:12] in screen]


def test_the_dashboards_series_are_drawn(seen: Seen, tmp_path: Path) -> None:
    folder = Path(os.environ.get("FELTSENSE_PICTURES") or tmp_path)
    picture.draw(seen.prometheus_url, folder / "dashboard.png", start=seen.started, end=time.time())
    assert 10_000 < (folder / "dashboard.png").stat().st_size < 150_000


@pytest.mark.timeout(400)
def test_flower_remembers_after_a_restart(seen: Seen) -> None:
    """The last test: it ends the instance, and starts Flower alone on what that left."""
    before = _api(seen.addresses["flower_url"], "/api/tasks")
    assert seen.instance.end(signal.SIGTERM) == 0
    chosen = Settings(
        run_dir=seen.instance.run_dir, broker_url="redis://127.0.0.1:1/0", flower_port=free_port(),
        flower_user="me", flower_password=SecretStr("a/b:c"),
    )  # fmt: skip
    flower = subprocess.Popen(
        [sys.executable, "-m", "celery", "--app", APP, "flower"],
        env=environment(chosen) | flower_options(chosen, chosen.run_dir),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = flower_url(chosen)
        until(lambda: answers(f"http://127.0.0.1:{chosen.flower_port}/healthcheck"), 60)
        assert _api(url, "/api/tasks").keys() == before.keys()
    finally:
        flower.terminate()
        flower.wait(30)
