"""Every query of docs/cookbook.md, run as the user it is for, gives what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.database import Server
from tests.support.planted import plant
from tests.support.service import ROOT
from worker.store import roles
from worker.store.engine import Store

PAGE = ROOT / "docs" / "cookbook.md"
RECIPE = re.compile(r"^## (.+)\n(\w+)\..*?```sql\n(.*?)```\n+((?:\|.*\n)*)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A query of the page: for whom, and the table it should give as Markdown."""

    title: str
    role: str
    query: str
    table: str


def recipes() -> list[Recipe]:
    parts = re.split(r"^(?=## )", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = [RECIPE.match(part + "\n") for part in parts]
    assert all(found), [part.splitlines()[0] for part, one in zip(parts, found, strict=True) if not one]
    return [
        Recipe(title=one[1], role=one[2], query=one[3], table=one[4].strip())
        for one in found
        if one is not None
    ]


@pytest.fixture(scope="module")
def planted(postgres: Server, template: str) -> Iterator[str]:
    name = postgres.create(template)
    url = postgres.url(name)
    with Store.open(url, pool_size=1) as store:
        roles.apply(store)
        plant(store, url)
    yield url
    postgres.drop(name)


def asked(url: str, recipe: Recipe) -> str:
    """The answer as Markdown."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(f"feltsense_{recipe.role}")))
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute("SET TRANSACTION READ ONLY")
        cursor = connection.execute(recipe.query.encode())
        names = [column.name for column in cursor.description or ()]
        rows = [[_shown(value) for value in row] for row in cursor.fetchall()]
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_query_gives_what_the_page_says(planted, recipe):
    assert asked(planted, recipe) == recipe.table


def test_a_reader_gets_no_further_than_their_recipes(planted):
    for recipe in recipes():
        if recipe.role != "reader":
            as_reader = Recipe(title="", role="reader", query=recipe.query, table="")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                asked(planted, as_reader)
