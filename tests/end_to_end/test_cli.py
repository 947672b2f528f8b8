"""The commands on real services: what goes in by `publish` is what `show` shows and what `enrich` writes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support import corpora
from tests.support.database import Server
from tests.support.events import event
from tests.support.program import feltsense, needs_plugins
from tests.support.service import Instance, bundle, instance, shared, valkey  # noqa: F401  fixtures
from worker.events.lines import LABELS

PEOPLE, DAYS = 3, 8
SECRET = "a sentence nobody but its writer may read"


def journal(prefix: str) -> list[dict[str, Any]]:
    """Some people's weeks, every third entry with a check-in, one entry edited."""
    events = [
        event(
            f"{prefix}-{person}-{day}",
            f"{prefix}-{person}",
            day=day + 1,
            text=f"Day {day}: {'office was loud, I cried' if day % 2 else 'bahut accha din tha'}; {SECRET}",
            timezone="Asia/Kolkata",
            self_report={"valence": day / DAYS, "arousal": 0.5} if day % 3 == 0 else None,
        )
        for person in range(PEOPLE)
        for day in range(DAYS)
    ]
    edited = {**events[2], "text": f"I changed my mind; {SECRET}", "revision": 2}
    return [*events, edited, events[0]]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n" for line in lines)
    )
    return path


def perceptions(path: Path) -> dict[str, dict[str, Any]]:
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return {row["id"]: row for row in rows}


def numbers(row: dict[str, Any]) -> dict[str, float]:
    names = ("valence", "arousal", "willingness", "congruence", "comparator")
    return {
        **{name: row[name] for name in names},
        **row["expected"],
        **row["expressed"]["cores"],
        **row["risk"]["flags"],
    }


def test_publish_show_and_enrich_agree(shared: Instance, tmp_path: Path) -> None:
    urls = {"FELTSENSE_BROKER_URL": shared.broker_url, "FELTSENSE_DATABASE_URL": shared.database_url}
    broken = [b'{"id": "x", "text": "' + SECRET.encode() + b"\n", event("cli-9-0", text=" ")]
    file = written(tmp_path / "events.jsonl", [*journal("cli"), *broken])

    # when the file is published and waited for
    published = feltsense("publish", file, "--wait", "--lane", "live", cwd=tmp_path, **urls)
    # then the good lines have rows, and the bad ones are named
    said = published.stderr.decode()
    assert published.returncode == 3, said
    assert "line 27: bad_json: the line is not valid JSON" in said
    assert "line 28: blank_text: `text` has no visible character." in said
    assert "26 events published, 2 rejected" in said
    assert SECRET not in said
    stored = shared.rows(
        "SELECT reflection_id, revision, valence FROM perceptions WHERE user_id LIKE %s", "cli-%"
    )
    assert len(stored) == PEOPLE * DAYS
    assert {key: revision for key, revision, _ in stored}["cli-0-2"] == 2

    # when the same file goes through the pipeline without services
    out = tmp_path / "perceptions.jsonl"
    enriched = feltsense("enrich", file, "--out", out, "--bundle", shared.bundle, cwd=tmp_path)
    said = enriched.stderr.decode()
    assert enriched.returncode == 3, said
    assert "24 perceptions written" in said
    assert "2 duplicates or older revisions left out, 2 rejected" in said
    # then its values are those of the queue
    rows = perceptions(out)
    assert {key: rows[key]["valence"] for key, _, _ in stored} == pytest.approx(
        {key: valence for key, _, valence in stored}, abs=1e-5
    )

    # when somebody looks at a person
    shown = feltsense("show", "cli-0", "--limit", "5", "--plot", tmp_path / "cli-0.png", cwd=tmp_path, **urls)
    table = shown.stdout.decode()
    assert shown.returncode == 0, shown.stderr.decode()
    assert "cli-0: 5 of 8 reflections" in table
    assert "2026-11-08 07:15" in table  # the writer's clock
    assert SECRET not in table
    assert (tmp_path / "cli-0.png").read_bytes().startswith(b"\x89PNG")
    # then the text comes only when it is asked for
    with_text = feltsense("show", "cli-0", "--text", cwd=tmp_path, COLUMNS="240", **urls).stdout.decode()
    assert "I changed my mind" in with_text


def test_publish_names_what_the_worker_parks(shared: Instance, tmp_path: Path) -> None:
    urls = {"FELTSENSE_BROKER_URL": shared.broker_url, "FELTSENSE_DATABASE_URL": shared.database_url}
    first, other = event("parked-1", "parked"), event("parked-1", "parked", text=SECRET)
    good = feltsense("publish", written(tmp_path / "1", [first]), "--wait", cwd=tmp_path, **urls)
    assert (good.returncode, good.stderr) == (0, b"1 events published\n")
    for _ in range(2):  # the letter of the first time must not stand for the second
        file = written(tmp_path / "2", [first, other, event("parked-2", "parked")])
        refused = feltsense("publish", file, "--wait", cwd=tmp_path, **urls)
        assert refused.returncode == 3
        assert refused.stderr.decode().splitlines() == [
            "id parked-1: conflicting_content: this id and revision were accepted before with other content",
            "3 events published, 1 of them parked",
        ]
    letters = shared.rows("SELECT count(*) FROM dead_letters WHERE reflection_id = 'parked-1'")
    assert letters == [(2,)]


def test_publish_without_the_key_of_the_worker_is_told_so_at_once(instance: Instance, tmp_path: Path) -> None:
    instance.start(event_key=base64.b64encode(bytes(32)).decode())
    urls = {"FELTSENSE_BROKER_URL": instance.broker_url, "FELTSENSE_DATABASE_URL": instance.database_url}
    file = written(tmp_path / "events.jsonl", [event("open-1"), event("open-2")])
    for _ in range(2):
        refused = feltsense("publish", file, "--wait", cwd=tmp_path, **urls)
        assert refused.returncode == 3
        assert refused.stderr.decode().splitlines() == [
            "id open-1: unsealed: this installation takes sealed events only",
            "id open-2: unsealed: this installation takes sealed events only",
            "2 events published, 2 of them parked",
        ]


def test_a_person_nobody_knows_and_a_picture_nobody_can_draw(shared: Instance, tmp_path: Path) -> None:
    urls = {"FELTSENSE_DATABASE_URL": shared.database_url}
    unknown = feltsense("show", "nobody", cwd=tmp_path, **urls)
    assert unknown.returncode == 2
    assert b"no reflections of 'nobody' are in the database" in unknown.stderr


def test_enrich_takes_labelled_lines_in_any_order_and_writes_them_by_time(
    shared: Instance,
    tmp_path: Path,
) -> None:
    events = journal("lab")[: PEOPLE * DAYS]
    plain = written(tmp_path / "plain.jsonl", events)
    labelled = written(
        tmp_path / "labelled.jsonl",
        [
            {**one, "labels": {"valence": 1.0}, "source": "synthetic", "cluster": "c"}
            for one in reversed(events)
        ],
    )
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    assert feltsense("enrich", plain, "--out", first, "--bundle", shared.bundle, cwd=tmp_path).returncode == 0
    through_stdin = feltsense(
        "enrich", "-", "--out", second, "--bundle", shared.bundle, cwd=tmp_path, stdin=labelled.read_bytes()
    )
    assert through_stdin.returncode == 0, through_stdin.stderr.decode()
    a, b = perceptions(first), perceptions(second)
    assert (
        list(a) == list(b) == [one["id"] for one in sorted(events, key=lambda e: (e["created_at"], e["id"]))]
    )
    assert [numbers(row) for row in a.values()] == [numbers(row) for row in b.values()]


def test_a_bundle_with_one_byte_changed_is_refused_and_nothing_is_written(
    shared: Instance,
    tmp_path: Path,
) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in shared.bundle.rglob("*"):
        if path.is_file():
            place = copy / path.relative_to(shared.bundle)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    assert feltsense("bundle", "verify", copy).returncode == 0
    shown = feltsense("bundle", "show", copy)
    assert b"model version" in shown.stdout
    spoiled = copy / "ngrams.npz"
    content = bytearray(spoiled.read_bytes())
    content[len(content) // 2] ^= 1
    spoiled.write_bytes(content)
    file = written(tmp_path / "events.jsonl", journal("byte")[:2])
    for arguments in (
        ("bundle", "verify", copy),
        ("enrich", file, "--out", tmp_path / "o", "--bundle", copy),
    ):
        refused = feltsense(*arguments, cwd=tmp_path)
        assert refused.returncode == 2
        assert b"refused: digest of ngrams.npz differs from the manifest" in refused.stderr
    assert not (tmp_path / "o").exists()


def test_publish_without_a_database_still_publishes_and_says_what_it_cannot_wait_for(
    shared: Instance,
    tmp_path: Path,
) -> None:
    file = written(tmp_path / "events.jsonl", [event("nodb-1", "nodb")])
    result = feltsense("publish", file, "--wait", cwd=tmp_path, FELTSENSE_BROKER_URL=shared.broker_url)
    assert result.returncode == 4
    assert b"set FELTSENSE_DATABASE_URL" in result.stderr
    shared.eventually(lambda: shared.rows("SELECT 1 FROM perceptions WHERE reflection_id = 'nodb-1'"))


def test_import_enrich_and_the_ids_find_back_to_the_corpus(shared: Instance, tmp_path: Path) -> None:
    needs_plugins()
    folder = corpora.write(tmp_path / "semeval", "semeval2026")
    labelled, out = tmp_path / "labelled.jsonl", tmp_path / "out.jsonl"
    assert feltsense("import", "semeval2026", folder, "--out", labelled, cwd=tmp_path).returncode == 0
    assert all(name in orjson.loads(labelled.read_bytes().splitlines()[0]) for name in LABELS[:2])
    assert (
        feltsense("enrich", labelled, "--out", out, "--bundle", shared.bundle, cwd=tmp_path).returncode == 0
    )
    assert {key.rpartition("-")[2] for key in perceptions(out)} == {"251", "252", "300"}


def test_a_fresh_database_has_nobody(postgres: Server, database_url: str, tmp_path: Path) -> None:
    result = feltsense("show", "u-1", cwd=tmp_path, FELTSENSE_DATABASE_URL=database_url)
    assert result.returncode == 2
    assert b"no reflections of 'u-1'" in result.stderr
