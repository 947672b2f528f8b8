"""The review page in a real browser: two readers, a third, the week's limit, and what it refuses."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest

from tests.support.browser import browser, picture
from tests.support.program import ROOT, feltsense
from tests.support.reviews import PASSWORD, at_risk, reviewers
from worker.store.engine import Store

__all__ = ["browser"]

HELP = "Call 112 when a life is in danger. Duty phone: 0123."


class Served:
    """`feltsense review serve` as a process, on a database of its own."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "review", "serve"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "FELTSENSE_DATABASE_URL": database_url, "FELTSENSE_REVIEW_PORT": "0",
                 "FELTSENSE_REVIEW_WEEKLY_CAP": "3", "FELTSENSE_REVIEW_HELP": HELP,
                 "FELTSENSE_LOG_LEVEL": "debug"},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line.startswith("review page: "), (line, self.process.communicate())
        self.url = line.removeprefix("review page: ").strip()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def ask(self, method: str, path: str, headers: dict[str, str], **form: str) -> http.client.HTTPResponse:
        """A request no browser made."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, urlencode(form), {**kind, **headers})
        return connection.getresponse()


@pytest.fixture(scope="module")
def served(postgres, template) -> Iterator[Served]:
    name = postgres.create(template)
    with Store.open(postgres.url(name), pool_size=2) as store:
        reviewers(store, "ann", "bo", "cy", "locked")
        at_risk(store, "t1", "t2", "t3", "t4")
    made = Served(postgres.url(name))
    yield made
    made.process.terminate()
    _, log = made.process.communicate(timeout=30)
    postgres.drop(name)
    assert made.process.returncode == 0
    assert b"the words of" not in log
    assert PASSWORD.encode() not in log


@pytest.fixture
def page(browser, served):
    browser.clear_cookies()
    opened = browser.new_page()
    problems: list[str] = []
    opened.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    elsewhere: list[str] = []
    opened.on("request", lambda r: None if r.url.startswith(served.url) else elsewhere.append(r.url))
    yield opened
    opened.close()
    assert elsewhere == []
    assert [text for text in problems if "status of 4" not in text] == []


def shown(what):
    """Waits for what a new page shows, and for the page's script: a key pressed before it has run is lost."""
    what.wait_for()
    what.page.wait_for_load_state()


def log_in(page, served, name):
    page.goto(served.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    shown(page.get_by_role("heading", name="Your reading"))


CONTRAST = """() => {
  const light = c => { const v = c / 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const lum = ([r, g, b]) => .2126 * light(r) + .7152 * light(g) + .0722 * light(b);
  const parse = s => s.match(/[\\d.]+/g).map(Number);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const [a, b] = [lum(parse(getComputedStyle(e).color)), lum(ground(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.tagName, e.textContent.trim().slice(0, 30), ratio]);
  }
  return bad;
}"""

FAULTS = """() => {
  const bad = [];
  if (document.documentElement.lang !== "en") bad.push("no language");
  if (!document.title) bad.push("no title");
  if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
  for (const mark of ["header", "main", "footer"])
    if (document.querySelectorAll(mark).length !== 1) bad.push(`not one ${mark}`);
  for (const field of document.querySelectorAll("input:not([type=hidden]), textarea"))
    if (!field.labels.length) bad.push(`${field.name} has no label`);
  for (const button of document.querySelectorAll("button"))
    if (!button.textContent.trim()) bad.push("a button without a name");
  for (const radio of document.querySelectorAll("input[type=radio]"))
    if (!radio.closest("fieldset")?.querySelector("legend")) bad.push("choices without a legend");
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  if (new Set(ids).size !== ids.length) bad.push("an id twice");
  for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
    for (const id of (e.getAttribute("aria-labelledby") ?? e.getAttribute("aria-describedby")).split(" "))
      if (!document.getElementById(id)) bad.push(`nothing is called ${id}`);
  return bad;
}"""


def accessible(page, name):
    """What can be said without a person: names, landmarks, contrast in both schemes, no need to scroll
    sideways on a phone."""
    assert page.evaluate(FAULTS) == []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == [], scheme
    picture(page, name)
    size = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size(size)


def test_two_readers_who_disagree_and_a_third_who_decides_by_keyboard_alone(page, browser, served):
    page.goto(served.url)
    accessible(page, "login")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("wrong password!")
    page.keyboard.press("Enter")
    shown(page.get_by_text("do not belong together"))
    # the name is kept, the password is asked for again
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    shown(page.get_by_role("heading", name="Your reading"))
    assert page.get_by_text("0 of 3").is_visible()
    accessible(page, "home")

    # ann reads, by keyboard
    page.keyboard.press("n")
    shown(page.get_by_role("heading", name="Before you read"))
    assert "the words of" not in page.content()
    assert "suicidal thoughts" in page.inner_text("main")
    accessible(page, "warning")
    page.keyboard.press("o")
    shown(page.get_by_role("heading", name="Read and decide"))
    assert page.locator(".text").inner_text() == "the words of t1, revision 1"
    assert page.get_by_label("Suicidal thoughts").is_checked()
    accessible(page, "read")
    assert page.url == f"{served.url}case"
    page.get_by_label("Note (optional)").fill("1 plan; 2 dates")  # typing is no shortcut
    assert not page.get_by_label("Act now").is_checked()
    page.get_by_label("Abuse").check()
    page.keyboard.press("1")
    assert page.get_by_label("Act now").is_checked()
    page.keyboard.press("Control+Enter")
    shown(page.get_by_role("heading", name="You decided: act now"))
    assert "u-t1" in page.inner_text(".urgent")
    assert HELP in page.inner_text("footer")
    accessible(page, "act-now")
    page.reload()
    assert page.locator(".urgent").count() == 0

    # bo sees nothing of it, and says something else
    browser.clear_cookies()
    log_in(page, served, "bo")
    page.keyboard.press("n")
    shown(page.get_by_role("heading", name="Before you read"))
    page.keyboard.press("o")
    shown(page.get_by_role("heading", name="Read and decide"))
    assert page.locator(".text").inner_text() == "the words of t1, revision 1"
    assert "plan" not in page.content()
    assert not page.get_by_label("Abuse").is_checked()
    page.keyboard.press("3")
    page.keyboard.press("Control+Enter")
    shown(page.get_by_text("Saved."))
    assert served.rows("SELECT count(*) FROM risk_queue WHERE reviewed") == [(0,)]

    # cy decides between them, with Tab, space and Enter only and the single keys off
    browser.clear_cookies()
    log_in(page, served, "cy")
    page.get_by_role("button", name="Take the next text").focus()
    page.keyboard.press("Enter")
    shown(page.get_by_text("Two people have read it and disagree"))
    page.get_by_label("Keys:").uncheck()
    page.keyboard.press("o")
    assert page.get_by_role("heading", name="Before you read").is_visible()
    page.get_by_role("button", name="Show the text").focus()
    page.keyboard.press("Enter")
    shown(page.get_by_role("heading", name="Decide between two readers"))
    said = page.locator(".verdicts").inner_text()
    assert "1 plan; 2 dates" in said
    assert "ann" not in said
    accessible(page, "adjudicate")
    page.get_by_label("Act now").focus()
    page.keyboard.press("ArrowDown")
    assert page.get_by_label("Watch").is_checked()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Save my decision":
            break
    page.keyboard.press("Enter")
    shown(page.get_by_text("Saved."))
    assert served.rows("SELECT reflection_id FROM risk_queue WHERE reviewed") == [("t1",)]
    assert served.rows("SELECT decision FROM review_cases WHERE settled_at IS NOT NULL") == [("watch",)]
    page.evaluate("localStorage.clear()")


def test_a_reader_skips_and_meets_the_weeks_limit(page, served):
    log_in(page, served, "bo")  # who has opened one text, of three that may be
    page.keyboard.press("n")
    shown(page.get_by_role("heading", name="Before you read"))
    page.keyboard.press("s")
    shown(page.get_by_text("Skipped."))
    assert page.get_by_text("1 of 3").is_visible()
    for _ in range(2):
        page.keyboard.press("n")
        shown(page.get_by_role("heading", name="Before you read"))
        page.keyboard.press("o")
        shown(page.get_by_role("heading", name="Read and decide"))
        page.keyboard.press("2")
        page.keyboard.press("Control+Enter")
        shown(page.get_by_text("Saved."))
    assert page.get_by_text("3 of 3").is_visible()
    page.keyboard.press("n")
    shown(page.get_by_text("You have opened 3 texts within seven days, and 3 is the most."))
    assert served.rows("SELECT count(*) FROM review_claims WHERE skipped_at IS NULL") == [(0,)]
    accessible(page, "limit")


def test_a_form_without_its_token_is_refused_and_changes_nothing(page, browser, served):
    log_in(page, served, "cy")
    page.keyboard.press("n")
    shown(page.get_by_role("heading", name="Before you read"))
    before = served.rows("SELECT count(*) FROM review_log")
    page.evaluate("document.querySelector('form[action=\"/open\"] [name=csrf]').value = 'guessed'")
    page.keyboard.press("o")
    shown(page.get_by_text("did not come from this page"))
    accessible(page, "refused")
    assert served.rows("SELECT count(*) FROM review_log") == before
    cookie = next(c for c in browser.cookies() if c["name"] == "feltsense_review")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    # neither with the cookie and a foreign origin, nor under another name of this machine
    mine = {"Cookie": f"feltsense_review={cookie['value']}"}
    page.goto(served.url)
    csrf = page.locator("[name=csrf]").first.get_attribute("value")
    assert served.ask("POST", "/next", {**mine, "Origin": "http://evil.example"}, csrf=csrf).status == 403
    assert served.ask("GET", "/", {**mine, "Host": "evil.example"}).status == 421
    assert served.ask("POST", "/next", mine, csrf=csrf).status == 303


def test_pages_are_for_those_who_are_logged_in_and_say_what_they_may_load(browser, served):
    for path in ("next", "open", "skip", "decide"):
        first = served.ask("GET", "/", {})
        visit = {"Cookie": first.getheader("Set-Cookie", "").partition(";")[0]}
        csrf = first.read().decode().partition('name="csrf" value="')[2].partition('"')[0]
        answer = served.ask("POST", f"/{path}", visit, csrf=csrf)
        assert (answer.status, answer.getheader("Location")) == (303, "/")
    answer = served.ask("GET", "/case", {})
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    assert served.ask("GET", "/nowhere", {}).status in (404, 421)
    headers = dict(served.ask("GET", "/", {}).getheaders())
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "same-origin")
    assert "Server" not in headers
    # and the browser keeps to it: nothing inline runs
    page = browser.new_page()
    page.goto(served.url)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    assert page.evaluate("window.ran") is None
    page.close()


def test_a_port_that_is_taken_is_told(served):
    port = str(urlsplit(served.url).port)
    ran = feltsense("review", "serve", FELTSENSE_DATABASE_URL=served.database_url, FELTSENSE_REVIEW_PORT=port)
    assert ran.returncode == 2
    assert f"port {port} of 127.0.0.1 cannot be used".encode() in ran.stderr


def test_after_five_wrong_passwords_even_the_right_one_waits(served):
    def tried(password):
        first = served.ask("GET", "/", {})
        visit = {"Cookie": first.getheader("Set-Cookie", "").partition(";")[0]}
        csrf = first.read().decode().partition('name="csrf" value="')[2].partition('"')[0]
        return served.ask("POST", "/login", visit, name="locked", password=password, csrf=csrf)

    assert [tried(f"wrong password {n}").status for n in range(5)] == [403] * 5
    refused = tried(PASSWORD)
    assert refused.status == 429
    assert int(refused.getheader("Retry-After", "0")) > 800
    assert b"Too many wrong passwords. Try again in 15 minutes." in refused.read()


def test_a_text_is_shown_as_it_is_whatever_it_holds(page, served):
    cruel = '<script>window.ran = 1</script> <b>bold</b> {{ 1 + 1 }} "quoted" \n second line'
    with psycopg.connect(served.database_url) as connection:
        connection.execute("UPDATE reflections SET text = %s", (cruel,))
        connection.execute("DELETE FROM review_claims")
    log_in(page, served, "ann")
    page.keyboard.press("n")
    shown(page.get_by_role("heading", name="Before you read"))
    page.keyboard.press("o")
    shown(page.get_by_role("heading", name="Read and decide"))
    assert page.locator(".text").inner_text() == cruel
    assert page.evaluate("window.ran") is None
    page.get_by_role("button", name="Log out").click()
    shown(page.get_by_role("heading", name="Log in"))
    page.goto(f"{served.url}case")
    assert "second line" not in page.content()
