"""The review page: what a reviewer sees in a browser on this machine, one text at a time.

It listens on 127.0.0.1 only; forms work without a script, and the script adds keys. A text is fetched for the
page that shows it and kept nowhere; neither it nor an id of it is in a URL or a log.
"""

from __future__ import annotations

import asyncio
import hmac
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from worker.errors import FeltsenseError, ServiceMissing, UsageError
from worker.events.variables import FLAGS
from worker.observability.logging import failure, logger
from worker.review import passwords
from worker.review.sessions import Session, Sessions, Tries
from worker.settings import Settings
from worker.store import reviews
from worker.store.engine import Store
from worker.store.reviews import DECISIONS, Decision, Verdict

T = TypeVar("T")

HOST = "127.0.0.1"
PAGES = Path(__file__).parent / "pages"
COOKIE = "feltsense_review"
LEVELS = {"high": ("high",), "medium": ("high", "medium")}
_FORM_BYTES = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none at all a form's own Origin would be null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
FLAG_WORDS = {
    "suicidal_ideation": "Suicidal thoughts",
    "self_harm": "Self-harm",
    "harm_to_others": "Harm to others",
    "abuse": "Abuse",
    "financial_coercion": "Financial coercion",
    "sociopathic_cues": "Cold or manipulative cues",
    "sarcasm": "Sarcasm",
    "profanity": "Strong language",
}


class Page:
    """What the handlers share. `store` is used from several threads."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.sessions = Sessions()
        self.tries = Tries()
        self.hosts: frozenset[str] = frozenset()

    def application(self) -> Application:
        handlers: list[Any] = [
            (r"/", Home), (r"/login", Login), (r"/logout", Logout), (r"/next", Next), (r"/case", Reading),
            (r"/open", Open), (r"/skip", Skip), (r"/decide", Decide), (r"/(page\.(?:css|js))", Asset),
        ]  # fmt: skip
        return Application(
            handlers,
            template_path=str(PAGES),
            default_handler_class=Nothing,
            log_function=_silent,
            page=self,
        )


class Handler(RequestHandler):
    """Every answer: strict headers, a visit known by its cookie, and errors told in their own words."""

    session: Session

    @property
    def page(self) -> Page:
        return cast(Page, self.settings["page"])

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        # A page elsewhere whose name was made to point at this machine comes with its own name.
        if self.request.host not in self.page.hosts:
            raise HTTPError(421, reason="Wrong address")
        found = self.page.sessions.find(self.get_cookie(COOKIE))
        self.session = found or self._begin()
        if self.request.method == "POST":
            sent = self.get_body_argument("csrf", "")
            origin = self.request.headers.get("Origin")
            foreign = origin is not None and origin.removeprefix("http://") not in self.page.hosts
            if foreign or not hmac.compare_digest(sent.encode(), self.session.csrf.encode()):
                raise HTTPError(403, reason="Form refused")

    def reviewer(self) -> str:
        """Who is logged in; others are sent to the login."""
        if self.session.reviewer is None:
            raise HTTPError(401, reason="Not logged in")
        return self.session.reviewer

    def show(self, template: str, **values: Any) -> None:
        """A page with what is to be told once."""
        notice, self.session.notice = self.session.notice, None
        self.render(
            template, session=self.session, help=self.page.settings.review_help, notice=notice, **values
        )

    def go(self, path: str) -> None:
        self.redirect(path, status=303)

    async def ask(self, work: Callable[..., T], *given: Any, **named: Any) -> T:
        """`work(store, ...)` beside the event loop."""
        return await asyncio.to_thread(work, self.page.store, *given, **named)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if status_code == 401:
            self.go("/")
            return
        told = {
            403: "This form did not come from this page, or your visit has ended. Nothing was changed.",
            404: "There is no such page.",
            405: "There is no such page.",
            421: "This page answers only under the address that `feltsense review serve` printed.",
        }
        words = told.get(status_code, "Something went wrong. Nothing was changed; the log says where it was.")
        if isinstance(error, ServiceMissing):
            self.set_status(503)
            words = f"{error}. Nothing was changed."
        self.render("problem.html", session=None, help=None, words=words)

    def log_exception(
        self,
        typ: type[BaseException] | None,  # noqa: ARG002 - tornado's signature
        value: BaseException | None,
        tb: TracebackType | None,  # noqa: ARG002 - as above
    ) -> None:
        if value is not None and not isinstance(value, HTTPError):
            logger.error("review_page_failed", **failure(value))

    def enter(self, session: Session) -> None:
        """This visit's cookie: not for scripts, not sent from elsewhere, gone with the browser."""
        self.session = session
        self.set_cookie(COOKIE, session.token, expires_days=None, httponly=True, samesite="Strict")

    def _begin(self) -> Session:
        self.enter(self.page.sessions.begin())
        return self.session


class Home(Handler):
    async def get(self) -> None:
        if self.session.reviewer is None:
            self.show("login.html", name="")
            return
        seen = await self.ask(reviews.exposure, self.session.reviewer)
        left = await self.ask(reviews.waiting)
        urgent, self.session.urgent = self.session.urgent, None
        cap = self.page.settings.review_weekly_cap
        self.show("home.html", seen=seen, cap=cap, left=left, urgent=urgent)


class Login(Handler):
    def get(self) -> None:
        self.go("/")

    async def post(self) -> None:
        name, password = (
            self.get_body_argument("name", ""),
            self.get_body_argument("password", "", strip=False),
        )
        wait_s = self.page.tries.wait_s(name)
        if wait_s:
            self.set_status(429)
            self.set_header("Retry-After", str(wait_s))
            self.session.notice = f"Too many wrong passwords. Try again in {-(-wait_s // 60)} minutes."
        else:
            self.page.tries.failed(name)  # counted before it is known, so that many at once are counted too
            stored = await self.ask(reviews.password_of, name)
            if await asyncio.to_thread(passwords.same, password, stored):
                self.page.tries.passed(name)
                self.page.sessions.end(self.session)
                self.enter(self.page.sessions.begin(name))
                self.go("/")
                return
            self.set_status(403)
            self.session.notice = "Name and password do not belong together."
        self.show("login.html", name=name)


class Logout(Handler):
    def post(self) -> None:
        self.page.sessions.end(self.session)
        self.clear_cookie(COOKIE)
        self.go("/")


class Next(Handler):
    async def post(self) -> None:
        chosen = self.page.settings
        wanted = {"levels": LEVELS[chosen.review_level], "cap": chosen.review_weekly_cap}
        self.session.shown = False
        try:
            self.session.case = await self.ask(reviews.next_case, self.reviewer(), **wanted)
        except reviews.ReviewRefused as refused:
            self.session.case, self.session.notice = None, str(refused)
        if self.session.case is None:
            self.session.notice = self.session.notice or "There is nothing for you to read now."
            self.go("/")
            return
        self.go("/case")


class Reading(Handler):
    """The case in hand: first what it is about, then, once it was asked for, the text and the form."""

    async def get(self) -> None:
        reviewer, case = self.reviewer(), self.session.case
        if case is None:
            self.go("/")
            return
        text = None
        if self.session.shown:
            cap = self.page.settings.review_weekly_cap
            try:
                case, text = await self.ask(reviews.open_text, case.id, reviewer, cap=cap)
            except FeltsenseError as refused:
                if isinstance(refused, ServiceMissing):
                    raise
                self.session.case, self.session.shown = None, False
                self.session.notice = told(refused)
                self.go("/")
                return
        self.show(
            "case.html", case=case, text=text, decisions=DECISIONS, flags=[(f, FLAG_WORDS[f]) for f in FLAGS],
            words=FLAG_WORDS, note_characters=reviews.NOTE_CHARACTERS,
        )  # fmt: skip


class Open(Handler):
    def post(self) -> None:
        self.reviewer()
        self.session.shown = self.session.case is not None
        self.go("/case")


class Skip(Handler):
    async def post(self) -> None:
        reviewer, case = self.reviewer(), self.session.case
        self.session.case, self.session.shown = None, False
        if case is not None:
            try:
                await self.ask(reviews.skip, case.id, reviewer)
                self.session.notice = "Skipped. Somebody else will read it."
            except reviews.ReviewRefused as refused:
                self.session.notice = told(refused)
        self.go("/")


class Decide(Handler):
    async def post(self) -> None:
        reviewer, case = self.reviewer(), self.session.case
        if case is None or self.get_body_argument("case", "") != str(case.id):
            self.session.notice = "That form was about another text. Nothing was saved."
            self.go("/")
            return
        note = self.get_body_argument("note", "").strip().replace("\r\n", "\n") or None
        verdict = Verdict(
            decision=cast(Decision, self.get_body_argument("decision", "")),
            flags=frozenset(self.get_body_arguments("flag")),
            note=note,
        )
        try:
            await self.ask(reviews.decide, case.id, reviewer, verdict)
        except FeltsenseError as refused:
            if isinstance(refused, ServiceMissing):
                raise
            self.session.notice = f"Not saved: {refused}"
            self.go("/case" if not isinstance(refused, reviews.ReviewRefused) else "/")
            return
        self.session.notice = "Saved. Nobody can change it any more."
        self.session.urgent = case if verdict.decision == "act_now" else None
        self.session.case, self.session.shown = None, False
        self.go("/")


class Asset(Handler):
    def get(self, name: str) -> None:
        self.set_header("Content-Type", "text/css" if name.endswith(".css") else "text/javascript")
        self.write((PAGES / name).read_bytes())


class Nothing(Handler):
    def prepare(self) -> None:
        raise HTTPError(404)


def _silent(handler: RequestHandler) -> None:
    """No line for each request: the review log says who read what."""


def told(refused: FeltsenseError) -> str:
    """An error as a sentence of the page."""
    words = str(refused)
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


async def serve(store: Store, settings: Settings, listening: Callable[[str], None]) -> None:
    """Answer until SIGINT or SIGTERM; `listening` is told the address. Raises UsageError for a port that is
    taken."""
    page = Page(store, settings)
    try:
        sockets = bind_sockets(settings.review_port, HOST)
    except OSError as error:
        raise UsageError(
            f"port {settings.review_port} of {HOST} cannot be used ({error.strerror});"
            " name another with FELTSENSE_REVIEW_PORT, or 0 for any"
        ) from None
    port = sockets[0].getsockname()[1]
    page.hosts = frozenset({f"{HOST}:{port}", f"localhost:{port}"})
    server = HTTPServer(page.application(), max_body_size=_FORM_BYTES, max_buffer_size=4 * _FORM_BYTES)
    server.add_sockets(sockets)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(one, ended.set)
    listening(f"http://{HOST}:{port}/")
    await ended.wait()
    server.stop()
    await server.close_all_connections()
