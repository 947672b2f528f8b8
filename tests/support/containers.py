"""docker/ as a test reads it: no engine is at hand, so what the files say is run without one."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yml"

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction of a Dockerfile; `words` is all behind its name."""

    name: str
    words: str

    def exec_form(self) -> list[str]:
        """The words of CMD ["..."]; a HEALTHCHECK's are behind its CMD."""
        form = json.loads(self.words[self.words.index("[") :])
        assert isinstance(form, list), self.words
        return form


def stages() -> dict[str, tuple[str, list[Instruction]]]:
    """Of each stage of the Dockerfile by its name: what it is made from, and its instructions."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE))
    found: dict[str, tuple[str, list[Instruction]]] = {}
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.split()
            found[name] = (base, [])
        elif name:
            found[name][1].append(Instruction(name=word, words=rest.strip()))
    return found


def inherited(target: str, word: str) -> list[Instruction]:
    """Every instruction called `word` that an image of `target` was built with, the first base's first."""
    known = stages()
    line: list[Instruction] = []
    while target in known:
        target, own = known[target]
        line = [one for one in own if one.name == word] + line
    return line


def environment(target: str) -> dict[str, str]:
    """What ENV sets in an image of `target`, but PATH."""
    pairs = [word.partition("=") for one in inherited(target, "ENV") for word in shlex.split(one.words)]
    return {name: value for name, _, value in pairs if name != "PATH"}


def compose() -> dict[str, Any]:
    """The compose file with its defaults in the place of variables, as compose reads it."""
    loaded: dict[str, Any] = _interpolated(yaml.safe_load(COMPOSE.read_text()))
    return loaded


def outside(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """A container's command with the paths and addresses of this machine in the place of the container's."""
    moved = list(words)
    for inner, outer in places.items():
        moved = [word.replace(inner, outer) for word in moved]
    return moved


def mounted(service: Mapping[str, Any], made: Path, into: Path, places: Mapping[str, str]) -> Path:
    """`into` as the /run/secrets of a service, from the secrets that docker/secrets.sh made.

    What is there stays: a health check asks for the folder while its service starts and reads it.
    """
    into.mkdir(exist_ok=True)
    for secret in service["secrets"]:
        source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
        if not (into / target).exists():
            (into / target).write_text(outside([(made / source).read_text()], places)[0])
    return into


def missing(program: str) -> str:
    """Why a test without `program` is skipped; with CI set nothing may be missing."""
    reason = f"{program} is not installed"
    if os.environ.get("CI"):
        raise AssertionError(reason)
    return reason


def _interpolated(value: Any) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: "$" if found[0] == "$$" else found[2] or "", value)
    if isinstance(value, list):
        return [_interpolated(one) for one in value]
    if isinstance(value, dict):
        return {name: _interpolated(one) for name, one in value.items()}
    return value
