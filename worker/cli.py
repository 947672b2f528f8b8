"""`feltsense`: what people type. Each command parses its call and hands over to the part that does the work.

Other packages add commands through the entry-point group `feltsense.commands`. Exit codes: 0 done; 2 the call
is wrong; 3 some input was rejected and the rest was done; 4 a service is missing; 1 a defect of Feltsense.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.commands import dead_letters, privacy, registry, review, watching
from worker.commands.configured import opened
from worker.commands.configured import settings as _settings
from worker.commands.migrate import migrate
from worker.commands.reenrich import reenrich
from worker.commands.work import work
from worker.courtesy import PROGRAM
from worker.errors import REJECTED, FeltsenseError, UsageError
from worker.interruption import INTERRUPTED

EXTENSIONS = "feltsense.commands"
DEFECT = 1
DEBUG = "FELTSENSE_DEBUG"

# Plain help: examples keep their lines, and rich is not loaded just to print it.
# Typer's own tracebacks show local variables, which hold reflection text.
PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "no_args_is_help": True,
    "add_completion": False,
}

app = typer.Typer(
    name="feltsense",
    help="Perception variables for short personal reflections. Start with: feltsense up",
    **PLAIN,
)
bundles = typer.Typer(help="Look at a bundle without running it.", **PLAIN)
app.add_typer(bundles, name="bundle")
app.command()(work)
app.command()(migrate)
app.command()(watching.metrics)
app.command()(watching.status)
app.command()(reenrich)
app.add_typer(dead_letters.commands(PLAIN), name="dead-letters")
app.add_typer(privacy.commands(PLAIN))
app.add_typer(registry.commands(PLAIN))
app.add_typer(review.commands(PLAIN), name="review")


class Lane(StrEnum):
    live = "live"
    bulk = "bulk"


@app.command()
def up() -> None:
    """Run a whole instance in the foreground.

    Broker, database, worker, beat and Flower; it says where each listens, and Ctrl-C stops all of it.

    \b
    Example: FELTSENSE_FLOWER_PORT=0 feltsense up
    """
    from rich.console import Console

    from worker.embedded.supervisor import up as run

    raise typer.Exit(run(_settings(), Console()))


@app.command()
def publish(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Events as JSONL; - reads standard input.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when each has come to rest.")] = False,
    lane: Annotated[Lane, typer.Option(help="live is worked off first.")] = Lane.bulk,
) -> None:
    """Put events on the queue.

    A bad line is named with its reason, and the others still go; with --wait, so is an event that the worker
    parks. A labelled file (feltsense import) is taken without its labels.

    \b
    Example: feltsense publish reflections.jsonl --wait
    """
    from worker.client import upload
    from worker.events.message import BULK, LIVE
    from worker.report.progress import bars

    settings = _settings()
    with _opened(file) as (lines, total), bars() as shown:
        done = upload.upload(
            lines,
            settings=settings,
            lane=LIVE if lane is Lane.live else BULK,
            remember=wait,
            say=shown.say,
            sent=lambda count: shown.tell("published", count, total),
        )
        parked = 0
        if wait:
            parked = upload.wait(
                done,
                settings=settings,
                say=shown.say,
                rested=lambda n, all_: shown.tell("at rest", n, all_),
            )
    of_these = f", {parked} of them parked" if parked else ""
    typer.echo(f"{done.published} events published{of_these}{_rejected(done.refused)}", err=True)
    raise typer.Exit(REJECTED if done.refused or parked else 0)


@app.command()
def show(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user_id of the events.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also draw the timeline.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many of the last.")] = 30,
    text: Annotated[bool, typer.Option("--text", help="Also show what the person wrote.")] = False,
) -> None:
    """Show a person's timeline.

    A table, sparklines and, with --plot, a picture.

    \b
    Example: feltsense show u-17 --limit 60 --plot u-17.png
    """
    from rich.console import Console

    from worker.report.timeline import timeline_view
    from worker.store.journal import timeline_of
    from worker.store.origins import origins_of

    settings = _settings()
    with opened(settings) as store:
        rows = timeline_of(store, user)
        origins = origins_of(store, user, with_text=text)
    if not rows:
        raise UsageError(f"no reflections of {user!r} are in the database")
    Console().print(timeline_view(user, rows, origins=origins, with_text=text, limit=limit))
    if plot is not None:
        from worker.report.plot import plot_timeline

        plot_timeline(user, rows[-limit:], plot, origins=origins)
        typer.echo(f"wrote {plot}", err=True)


@app.command()
def enrich(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Events as JSONL; - reads standard input.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="One JSON perception a line, by created_at.")],
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead of the configured bundle.")
    ] = None,
) -> None:
    """Perceive a file without any service.

    The same pipeline and the same values as through the queue. Of several revisions the highest counts,
    duplicates count once. A bad line is named, and the others are done.

    \b
    Example: feltsense enrich reflections.jsonl --out perceptions.jsonl
    """
    from worker.enrich import enrich as run
    from worker.pipeline import Pipeline
    from worker.report.progress import bars

    settings = _settings()
    with _opened(file) as (lines, _), bars() as shown:
        done = run(
            lines,
            pipeline=lambda: Pipeline.open(bundle, settings),
            out=out,
            say=shown.say,
            perceived=lambda count, total: shown.tell("perceived", count, total),
        )
    again = f", {done.stale} duplicates or older revisions left out" if done.stale else ""
    typer.echo(f"{done.written} perceptions written to {out}{again}{_rejected(done.refused)}", err=True)
    raise typer.Exit(REJECTED if done.refused else 0)


@app.command()
def doctor() -> None:
    """Say what works and what to do about the rest.

    Looks at broker, database, devices and bundle.

    \b
    Example: feltsense doctor
    """
    from rich.console import Console

    from worker.service.health import doctor as examine

    raise typer.Exit(examine(_settings(), Console()))


@app.command()
def tune(
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Events like yours (JSONL); the sample when left out.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="About how long it may take.")] = 100.0,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Also choose an encoder precision that changes the values.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The environment file to change.")] = Path(".env"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
) -> None:
    """Find the fastest settings for this machine.

    Measures precision, streams, threads, batch size and wait on the real parts, and writes what was proven
    better than noise. Run it while nothing else runs; Ctrl-C leaves the old settings.

    \b
    Example: feltsense tune --data reflections.jsonl --dry-run
    """
    from rich.console import Console

    from worker.demo import SAMPLE
    from worker.report.progress import bars
    from worker.report.tuning import told, tuning_view
    from worker.tune.tuning import tune as run

    settings = _settings()
    with _opened(str(data or SAMPLE)) as (lines, _), bars() as shown:
        done = run(
            lines,
            settings=settings,
            out=None if dry_run else out,
            seconds=seconds,
            allow_loss=allow_loss,
            say=shown.say,
            passed=lambda gone: shown.tell("seconds", round(gone), round(seconds)),
            judged=lambda choice: shown.say(told(choice)),
        )
    Console().print(tuning_view(done.outcome))
    for name, value in done.written.items():
        typer.echo(f"{name}={value}")
    if not done.written:
        typer.echo("nothing was proven better than what is set: nothing is written", err=True)
    elif dry_run:
        typer.echo("a dry run: nothing is written", err=True)
    else:
        typer.echo(f"written to {out}; a running worker takes it at its next start", err=True)
    raise typer.Exit(REJECTED if done.refused and data is not None else 0)


@app.command()
def trace(
    out: Annotated[Path, typer.Argument(metavar="FILE.png", help="The picture; .svg and .pdf go as well.")],
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How much work is drawn.")] = 1.0,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Events like yours (JSONL); the sample when left out.")
    ] = None,
) -> None:
    """Draw one second of work.

    Runs the stages on both lanes at once, on a database of its own, and draws when which batch was where.

    \b
    Example: feltsense trace work.png
    """
    from worker.demo import SAMPLE
    from worker.report.work import plot_work
    from worker.service.trace import trace as run

    with _opened(str(data or SAMPLE)) as (lines, _):
        worked = run(_settings(), lines, seconds=seconds)
    plot_work(worked, out, seconds=seconds)
    typer.echo(f"wrote {out}: {len(worked)} batches", err=True)


@bundles.command("verify")
def bundle_verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle folder.")],
) -> None:
    """Check that a bundle is whole and fits.

    Its format, its feature schema, the digest of every file and, with FELTSENSE_BUNDLE_KEYS, its signature;
    nothing of it is run.

    \b
    Example: feltsense bundle verify worker/starter
    """
    from worker.bundle import manifest, signature

    facts = manifest.read(folder)
    keys = _settings().bundle_keys
    signed = f", signed with key {signature.check(folder, keys)}" if keys is not None else ""
    typer.echo(f"ok: {facts.name} {facts.model_version}, {len(facts.files)} files{signed}")


bundles.command("sign")(privacy.sign)


@bundles.command("show")
def bundle_show(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The starter bundle when left out.")
    ] = None,
) -> None:
    """Show what a bundle is.

    Version, data and licences, evidence grades, metrics.

    \b
    Example: feltsense bundle show worker/starter
    """
    from rich.console import Console

    from worker.bundle import manifest
    from worker.bundle.reader import STARTER
    from worker.report.bundle import bundle_view

    Console().print(bundle_view(manifest.read(folder or STARTER)))


@app.command()
def version() -> None:
    """Print the version.

    \b
    Example: feltsense version
    """
    from worker.events.reflection import SCHEMA

    typer.echo(f"feltsense {metadata.version('feltsense')}, event schema {SCHEMA}")


def main() -> None:
    """The program: run the command, and turn what it raises into one clear line and an exit code."""
    try:
        for extension in metadata.entry_points(group=EXTENSIONS):
            app.add_typer(extension.load())
        app(prog_name="feltsense", obj=PROGRAM)
    except FeltsenseError as error:
        _fail(f"feltsense: {error}", error, error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has enough; Python's own attempt to flush it at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  the last line of defence: its message could hold reflection text
        _fail(f"feltsense: a defect ({type(error).__name__}); set {DEBUG}=1 to see where", error, DEFECT)


def _fail(message: str, error: Exception, code: int) -> None:
    if os.environ.get(DEBUG):
        # Frames and source lines only: neither variables nor messages of foreign errors, which may hold text.
        traceback.print_tb(error.__traceback__)
    typer.echo(message, err=True)
    sys.exit(code)


@contextmanager
def _opened(file: str) -> Iterator[tuple[Iterator[bytes], int | None]]:
    """The lines of `file` (- is standard input), and how many there are where that can be known
    beforehand."""
    if file == "-":
        yield iter(sys.stdin.buffer), None
        return
    try:
        with Path(file).open("rb") as lines:
            total = None
            if lines.seekable():
                total = sum(1 for _ in lines)
                lines.seek(0)
            yield iter(lines), total
    except OSError as error:
        if error.filename != file:  # not the opening: something the command did
            raise
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _rejected(count: int) -> str:
    return f", {count} rejected" if count else ""


if __name__ == "__main__":
    main()
