"""What docs/ say of tables, bundles, settings and examples is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from worker.bundle import manifest
from worker.bundle.manifest import Manifest
from worker.bundle.reader import STARTER
from worker.client import publisher
from worker.embedded import valkey, watch
from worker.embedded.supervisor import WORKER_STOP_S
from worker.events import reflection
from worker.events.timeline import TIMELINE_LIMIT
from worker.inference import minilm
from worker.settings import Settings
from worker.store import changes, leases
from worker.store.tables import Base

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TABLES = Base.metadata.tables


def section(page: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs lack a section {title}"
    return found[1]


def described(table: Table) -> list[tuple[str, str]]:
    short = {"timestamp with time zone": "timestamptz", "double precision": "float8"}
    rows = []
    for column in table.columns:
        kind = column.type.compile(dialect=postgresql.dialect()).lower().partition(" collate")[0]
        name = f"**`{column.name}`**" if column.primary_key else f"`{column.name}`"
        rows.append((name, short.get(kind, kind) + "?" * bool(column.nullable)))
    return rows


@pytest.mark.parametrize("name", TABLES)
def test_the_schema_page_has_each_column_with_its_type(name):
    text = section((DOCS / "schema.md").read_text(), name)
    assert re.findall(r"^\| (\S*`\S+) \| (\S+) \|", text, re.MULTILINE) == described(TABLES[name])


def test_the_schema_page_has_no_table_that_is_gone():
    titles = re.findall(r"^## (\w+)$", (DOCS / "schema.md").read_text(), re.MULTILINE)
    assert set(titles) == set(TABLES)


def test_the_bundle_page_has_each_file_of_the_starter_and_each_field_of_its_manifest():
    page = (DOCS / "bundle.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \| ", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall("`(.*?)`", row)}
    facts = manifest.read(STARTER)
    gates = {name for name in facts.files if name.startswith("gates/")}
    assert facts.files.keys() - gates <= named
    assert {"gates/NAME.txt", manifest.NAME, manifest.SIGNATURE} <= named
    fields = re.findall(r"^\| `(\w+)` \| ", section(page, "manifest.json"), re.MULTILINE)
    assert fields == list(Manifest.model_fields)


LIMITS = {
    "text": f"{reflection.TEXT_LIMIT:,} characters",
    "text the encoder sees": f"first {minilm.MAX_TOKENS} tokens",
    "`id`, `user_id`": f"{reflection.ID_LIMIT} visible",
    "events in a message": f"{reflection.MESSAGE_LIMIT} |",
    "a message on the embedded broker": f"{valkey.MESSAGE_MB} MB",
    "a person's history": f"last {TIMELINE_LIMIT} ",
    "a late or edited reflection": f"{changes.AT_ONCE.days} days",
    "messages in a lane, `Publisher.publish`": f"{publisher.QUEUE_LIMIT:,} |",
    "messages in a lane, `publish_many`": f"{publisher.BACKLOG_LIMIT} |",
    "messages in one worker": f"{Settings.model_fields['concurrency'].default} (",
    "attempts at an event": f"{leases.ATTEMPTS} |",
    "a batch in one stage": f"{Settings.model_fields['stall_s'].default:g} s",
    "a worker's restarts": f"{watch.RESTARTS} in {watch.WITHIN_S / 60:g} minutes",
    "a worker's stop": f"{WORKER_STOP_S:g} s",
}


@pytest.mark.parametrize("what", LIMITS)
def test_the_limits_page_has_the_codes_numbers(what):
    row = re.search(rf"^\| {re.escape(what)} \| (.*)$", (DOCS / "limits.md").read_text(), re.MULTILINE)
    assert row, what
    assert LIMITS[what] in row[1]


def test_the_limits_page_has_every_reason_of_a_refusal():
    text = section((DOCS / "limits.md").read_text(), "What it says when it refuses an event")
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)) == reflection.REASONS


def test_links_lead_somewhere():
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_settings_that_docs_name_exist():
    known = {f"FELTSENSE_{name.upper()}" for name in Settings.model_fields}
    known.add("FELTSENSE_PICTURES")  # of the test that takes them
    for page in DOCS.glob("*.md"):
        for name in set(re.findall(r"FELTSENSE_[A-Z_]+[A-Z]", page.read_text())):
            if not name.startswith("FELTSENSE_TRAINER"):
                assert name in known, f"{page.name}: {name}"


def test_the_seal_of_the_clients_page_is_the_one_of_the_example():
    block = re.search(r"```js\n(.*?)```", (DOCS / "clients.md").read_text(), re.DOTALL)
    assert block
    assert block[1] in (ROOT / "examples/node/publish.mjs").read_text()


def test_the_index_names_every_page():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
