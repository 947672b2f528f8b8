"""The program at its edge: help with examples, clear errors with their exit codes, no text in any of them."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.program import feltsense, needs_plugins
from worker import cli
from worker.client.addresses import broker_url, database_url
from worker.errors import BundleRefused, ServiceMissing, UsageError
from worker.settings import Settings

COMMANDS = [
    "up",
    "publish",
    "show",
    "enrich",
    "doctor",
    "tune",
    "trace",
    "bundle verify",
    "bundle show",
    "dead-letters list",
    "dead-letters show",
    "dead-letters retry",
    "dead-letters drop",
    "version",
    "import",
    "synth",
    "train",
    "labels",
    "evaluate",
    "leakage",
    "export",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    if command in ("import", "synth", "train", "labels", "evaluate", "leakage", "export"):
        needs_plugins()
    shown = feltsense(*command.split(), "--help")
    assert shown.returncode == 0
    assert re.search(f"Example: .*feltsense {command}", shown.stdout.decode())
    assert shown.stderr == b""


def test_help_is_there_in_half_a_second() -> None:
    """Of computing: how long a loaded machine lets it wait says nothing of the program."""

    def computed() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    durations = []
    for _ in range(3):
        begun = computed()
        assert feltsense("--help").returncode == 0
        durations.append(computed() - begun)
    assert min(durations) < 0.5


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, worker.cli, trainer.cli; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True).stdout
    for heavy in (
        "numpy",
        "openvino",
        "celery",
        "sqlalchemy",
        "rich.progress",
        "pydantic",
        "sklearn",
        "matplotlib",
    ):
        assert f"'{heavy}'".encode() not in loaded


def test_version_names_program_and_schema() -> None:
    needs_plugins()
    assert feltsense("version").stdout.decode().strip() == "feltsense 0.1.0, event schema 1"


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["nonsense"], {}, 2, "No such command 'nonsense'"),
        (["publish"], {}, 2, "Missing argument"),
        (["publish", "-", "--lane", "fast"], {}, 2, "is not one of 'live', 'bulk'"),
        (["publish", "nowhere.jsonl"], {}, 2, "feltsense: cannot read nowhere.jsonl: No such file"),
        (["publish", "."], {}, 2, "feltsense: cannot read .: Is a directory"),
        (
            ["publish", "-"],
            {},
            4,
            "no instance runs on run (run/feltsense.json is absent): start `feltsense up`",
        ),
        (["show", "u-1"], {}, 4, "start `feltsense up`, or set FELTSENSE_DATABASE_URL"),
        (
            ["show", "u-1"],
            {"FELTSENSE_DATABASE_URL": "mysql://x"},
            2,
            "feltsense: database_url is no Postgres URL",
        ),
        (["show", "u-1", "--limit", "0"], {}, 2, "Invalid value for '--limit'"),
        (
            ["doctor"],
            {"FELTSENSE_STREAMS": "0"},
            2,
            "feltsense: setting FELTSENSE_STREAMS: Input should be greater",
        ),
        (["enrich", "-"], {}, 2, "Missing option '--out'"),
        (["tune", "--data", "nowhere.jsonl"], {}, 2, "feltsense: cannot read nowhere.jsonl: No such file"),
        (["tune", "--data", "/dev/null"], {}, 2, "feltsense: no line of the sample is an event"),
        (["tune", "--out", "nowhere/.env"], {}, 2, "cannot write nowhere/.env: its folder is not writable"),
        (["bundle", "verify", "."], {}, 2, "feltsense: bundle . refused: no manifest.json in it"),
    ],
)
def test_a_wrong_call_or_a_missing_service_is_one_clear_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, message: str
) -> None:
    result = feltsense(*arguments, cwd=tmp_path, **environment)
    said = result.stderr.decode()
    assert result.returncode == code, said
    assert message in said
    assert "Traceback" not in said


def test_a_broker_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = "redis://:hunter2@127.0.0.1:1/0"
    event = b'{"id":"a","user_id":"u","text":"SECRET","created_at":"2026-01-01T00:00:00Z"}\n'
    result = feltsense("publish", "-", cwd=tmp_path, stdin=event, FELTSENSE_BROKER_URL=url)
    said = result.stderr.decode()
    assert result.returncode == 4, said
    assert "127.0.0.1:1" in said
    assert "hunter2" not in said
    assert "SECRET" not in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read (JSONDecodeError)"),
        ("[]", "cannot be read (AttributeError)"),
        ("{}", "names no broker_url"),
        ('{"broker_url": null}', "names no broker_url"),
    ],
)
def test_a_state_file_that_is_no_state_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "feltsense.json").write_text(content)
    with pytest.raises(ServiceMissing) as raised:
        broker_url(Settings(run_dir=tmp_path, broker_url=None))
    assert message in str(raised.value)
    assert "start `feltsense up`, or set FELTSENSE_BROKER_URL" in str(raised.value)


def test_the_settings_come_before_the_state_file(tmp_path: Path) -> None:
    (tmp_path / "feltsense.json").write_text(
        '{"broker_url": "redis://told", "database_url": "postgresql://told"}'
    )
    assert broker_url(Settings(run_dir=tmp_path, broker_url=None)) == "redis://told"
    assert database_url(Settings(run_dir=tmp_path, database_url="postgresql://set")) == "postgresql://set"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong"), 2),
        (BundleRefused("b", "one byte changed"), 2),
        (ServiceMissing("no broker"), 4),
        (RuntimeError("SECRET"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_command_raises_becomes_its_exit_code_and_never_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", failing)
    monkeypatch.setattr(cli.metadata, "entry_points", lambda group: [])
    monkeypatch.setenv(cli.DEBUG, "1")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert "SECRET" not in capsys.readouterr().err


def test_import_writes_labelled_lines_and_names_what_it_left_out(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tests.support.corpora import write
    from trainer.cli import commands

    folder = write(tmp_path / "sdcnl", "sdcnl")
    out = tmp_path / "out.jsonl"
    result = CliRunner().invoke(commands, [str(part) for part in ("import", "sdcnl", folder, "--out", out)])
    assert result.exit_code == 3
    assert "training-set.csv row 3: text_too_long" in result.stderr
    assert "1 events of 1 people from 2 rows, 1 rejected; licence none stated, may not train" in result.stderr
    assert [orjson.loads(line)["id"] for line in out.read_bytes().splitlines()] == ["sdcnl-1"]
