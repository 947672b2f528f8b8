"""The trainer's commands; the entry point `feltsense.commands` plugs them into `feltsense`.

This module is imported by every `feltsense --help`, so it imports nothing heavy before a command runs.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from trainer.errors import TrainerError
from worker.errors import REJECTED
from worker.interruption import INTERRUPTED

commands = typer.Typer(rich_markup_mode=None)


def _give_way(context: typer.Context) -> None:
    """What computes long gives way to a worker on this machine; a program that only calls the command does
    not."""
    from trainer.settings import TrainerSettings
    from worker.courtesy import PROGRAM, apart

    if context.obj is PROGRAM and TrainerSettings().gives_way:
        apart()


@commands.command("import")
def import_(
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="Which corpus; a wrong name lists them all.")
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Its folder, as its authors publish it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Labelled JSONL; replaced whole or not at all.")],
) -> None:
    """Turn a public corpus into labelled events.

    CORPUS is one of semeval2026, emobank, goemotions, offmychest, empathic, isarcasm, isear, vreg, sentimix,
    masac, sdcnl, cssrs, dreaddit. The result is the event of the queue with `labels` and `source` beside it;
    a row that breaks the event's contract is named and left out.

    \b
    Example: feltsense import emobank corpora/emobank --out emobank.jsonl
    """
    from trainer.data.corpora.importer import import_corpus
    from trainer.data.licences import LICENCES
    from worker.report.progress import bars

    with bars() as shown:
        summary = import_corpus(
            corpus,
            path,
            out,
            now=datetime.now(UTC),
            progress=lambda done, total: shown.tell(corpus, done, total),
        )
    for refusal in summary.refusals:
        typer.echo(str(refusal), err=True)
    licence = LICENCES[corpus]
    terms = "may train what ships" if licence.may_ship else "may not train what ships"
    rejected = f", {len(summary.refusals)} rejected" if summary.refusals else ""
    typer.echo(
        f"{summary.events} events of {summary.people} people from {summary.rows} rows{rejected}; "
        f"licence {licence.licence}, {terms}",
        err=True,
    )
    raise typer.Exit(REJECTED if summary.refusals else 0)


@commands.command("labels")
def labels(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Labelled JSONL; replaced whole or not at all.")],
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="FELTSENSE_DATABASE_URL",
            show_envvar=True,
            help="Postgres; else the running instance's.",
        ),
    ] = None,
) -> None:
    """Take your own labels out of the database.

    Reflections whose writers consented to training, with their self-reports and the reviewed labels. The file
    holds what people wrote: it is readable by you only, and erasing a person does not reach it.

    \b
    Example: feltsense labels --out mine.jsonl
    """
    from trainer.data.operator import export
    from worker.client import addresses
    from worker.settings import Settings
    from worker.store.engine import Store

    settings = Settings()
    url = database_url or addresses.database_url(settings)
    with Store.open(url, pool_size=1, text_keys=settings.text_keys) as store:
        done = export(store, out)
    for problem in done.refused:
        typer.echo(problem, err=True)
    left = {
        "without text": done.textless,
        "of high risk and not reviewed": done.unreviewed,
        "older labels of edited texts": done.stale,
    }
    told = "".join(f"; left out: {count} {what}" for what, count in left.items() if count)
    rejected = f", {len(done.refused)} rejected" if done.refused else ""
    typer.echo(
        f"{done.events} events of {done.people} people, {done.labelled} with a label{rejected}{told}",
        err=True,
    )
    raise typer.Exit(REJECTED if done.refused else 0)


@commands.command("synth")
def synth(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Labelled JSONL.")],
    people: Annotated[int, typer.Option(min=1, help="How many synthetic people.")] = 800,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal files.")] = 7,
) -> None:
    """Write the synthetic edge cases.

    They stand in for what no public corpus that may ship has; figures on them are called synthetic.

    \b
    Example: feltsense synth --out synthetic.jsonl --people 200
    """
    from trainer.data.synthetic import write

    try:
        count = write(out, people, seed)
    except OSError as error:
        raise TrainerError(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"{count} events of {people} synthetic people", err=True)


@commands.command("train")
def train(
    context: typer.Context,
    data: Annotated[list[Path], typer.Option(metavar="FILE", help="Labelled JSONL; several may follow.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle's folder.")],
    plan: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A plan of trainer/plans, or a TOML file.")
    ] = "starter",
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Folds and trials on every `feltsense trainer` that runs.")
    ] = False,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", hidden=True)] = None,
) -> None:
    """Fit a bundle on labelled files.

    Stopped by Ctrl-C or killed, the same command goes on; what it has done lies beside --out until then.

    \b
    Example: feltsense train --data emobank.jsonl semeval2026.jsonl --plan starter --out bundles/mine
    """
    _give_way(context)
    from rich.console import Console

    from trainer.rebuild import rebuild
    from trainer.settings import TrainerSettings

    crew = None
    if distributed or TrainerSettings().distributed:
        from trainer.service.remote import crew as others

        crew = others()
    try:
        rebuild([*data, *(more or ())], plan, out, Console(stderr=True), crew=crew)
    except KeyboardInterrupt:
        typer.echo("feltsense: stopped; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None


@commands.command("trainer")
def trainer() -> None:
    """Run a trainer and its beat on a broker and a database of yours, in the foreground.

    Scheduled rebuilds and checks, once each however many trainers and beats run. One that ends is started
    again; a rebuild that was cut off goes on where it was.

    \b
    Example: FELTSENSE_BROKER_URL=redis://10.0.0.5 FELTSENSE_DATABASE_URL=postgresql://... feltsense trainer
    """
    from rich.console import Console

    from worker.commands.configured import settings
    from worker.embedded.supervisor import train as run

    raise typer.Exit(run(settings(), Console(stderr=True)))


@commands.command("leakage")
def leakage(
    path: Annotated[
        Path, typer.Argument(metavar="BUNDLE|SPLITS", help="A bundle folder, a splits.npz or a listing.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Labelled JSONL with the texts; several may follow."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", hidden=True)] = None,
) -> None:
    """Prove or refute that nothing leaked.

    People, times, near-duplicate texts, fold ancestry and what gates and calibrators were fitted on are
    checked from the rows and masks themselves; exit code 3 when a leak is found. A bundle keeps no texts:
    name its data to compare them anew. SPLITS may be any split: one JSON object a line with id, user_id,
    created_at, source, part (train, validation, test, history, embargo, null), fold, cluster and perhaps
    text, shared, learned; models follow as level (base, gate, calibrator), name, number, trained and
    predicted (lists of ids).

    \b
    Example: feltsense leakage bundles/mine --data emobank.jsonl semeval2026.jsonl
    """
    from rich.console import Console

    from trainer.data import labelled
    from trainer.splits.check import refuse
    from trainer.splits.leakage import inspect, table

    files = [*(data or ()), *(more or ())]
    checks = inspect(path, labelled.load(files) if files else ())
    console = Console()
    if not console.is_terminal:
        console.width = 150
    console.print(table(checks, f"leakage of {path}"))
    refuse(checks)


@commands.command("evaluate")
def evaluate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    data: Annotated[list[Path], typer.Option(metavar="FILE", help="Labelled JSONL; several may follow.")],
    report: Annotated[Path, typer.Option(metavar="DIR", help="Where report.html and report.json go.")],
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 3 when a gate fails.")] = False,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", hidden=True)] = None,
) -> None:
    """Judge a bundle on labelled files that it has not seen.

    Rows whose people or texts the bundle was fitted on are left out and counted. A gate on zero rows fails.

    \b
    Example: feltsense evaluate bundles/mine --data dev.jsonl --report reports/mine
    """
    _give_way(context)
    from rich.console import Console

    from trainer.data.labelled import load
    from trainer.evaluate import html
    from trainer.evaluate.evaluation import evaluate as judge
    from worker.observability import logging
    from worker.report.progress import bars
    from worker.settings import Settings

    settings = Settings()
    logging.configure(settings.log_level if "log_level" in settings.model_fields_set else "warning")
    rows = load([*data, *(more or ())])
    with bars() as shown:
        done = judge(bundle, rows, settings=settings, tell=shown.tell)
    page, numbers = html.write(done, report)
    Console(width=None if sys.stdout.isatty() else 150).print(html.table(done))
    typer.echo(f"{done.membership.remark}\n{page} and {numbers} written", err=True)
    raise typer.Exit(REJECTED if gate and not done.passed else 0)


@commands.command("promote")
def promote(
    context: typer.Context,
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE|VERSION", help="A bundle's folder, or a registered version.")
    ],
    data: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Labelled JSONL; several may follow.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Serve it without a comparison; give a --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option(metavar="WHY", help="Kept in the history.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Also write the verdict with every figure.")
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", hidden=True)] = None,
) -> None:
    """Let a bundle serve, if it is no worse than the one that does.

    It is put into the bundle store and compared with the serving one on the rows of --data and on your own
    consented labels, as far as neither has seen them, and on live traffic if it was tried there. When a gate
    or a slice gets worse, or there is too little to compare on, nothing changes and the exit code is 3.

    \b
    Example: feltsense promote bundles/mine --data reserved.jsonl
    """
    _give_way(context)
    import orjson
    from rich.console import Console

    from trainer.data import operator
    from trainer.data.labelled import load
    from trainer.promote.switch import promote as run
    from trainer.promote.table import verdict_view
    from worker.commands.configured import opened, settings
    from worker.errors import UsageError
    from worker.report.progress import bars

    if force and not reason:
        raise UsageError("--force serves a bundle unproven: say why with --reason")
    chosen = settings()
    rows = load([*(data or ()), *(more or ())])
    with opened(chosen) as store, bars() as shown:
        if not force:
            rows = operator.joined(rows, operator.rows(store))
        done = run(store, chosen, bundle, rows=rows, force=force, reason=reason, tell=shown.tell)
    if done.verdict is not None:
        Console(width=None if sys.stdout.isatty() else 150).print(verdict_view(done.verdict))
        if report is not None:
            report.write_bytes(orjson.dumps(done.verdict.to_json(), option=orjson.OPT_INDENT_2))
    typer.echo(f"{done.version}: {done.done}", err=True)
    raise typer.Exit(REJECTED if done.done == "refused" else 0)


@commands.command("export")
def export(
    context: typer.Context,
    data: Annotated[list[Path], typer.Option(metavar="FILE", help="Labelled JSONL; several may follow.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the graphs go; an older export is replaced.")
    ],
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A bundle's folder; the starter when left out.")
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Keep graphs beyond the limits, marked as a trade.")
    ] = False,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", hidden=True)] = None,
) -> None:
    """Make a bundle's nets into graphs for GPU and NPU.

    Half precision and 8-bit integers, also in fixed shapes for an NPU. Each is read back, run, and held
    against torch: what it changes in each variable and metric is in parity.md and parity.json. A graph that
    changes more than the limits, or is not quantised as it should be, is not left in the folder, and the
    exit code is 3. The worker takes the folder by FELTSENSE_EXPORTS.

    \b
    Example: feltsense export bundles/mine --data emobank.jsonl semeval2026.jsonl --out exports/mine
    """
    _give_way(context)
    from trainer.data.labelled import load
    from trainer.export.delivery import export as deliver
    from worker.observability import logging
    from worker.report.progress import bars
    from worker.settings import Settings

    settings = Settings()
    logging.configure(settings.log_level if "log_level" in settings.model_fields_set else "warning")
    rows = load([*data, *(more or ())])
    try:
        with bars() as shown:
            done = deliver(bundle or settings.bundle, rows, out, allow_loss=allow_loss, tell=shown.tell)
    except KeyboardInterrupt:
        typer.echo("feltsense: stopped; nothing was written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    for name, one in {**done.report["cpu"], **done.report["graphs"]}.items():
        typer.echo(f"{name:<16} {one['verdict']}")
    for reason in done.refused:
        typer.echo(f"refused: {reason}", err=True)
    typer.echo(f"{out} {'written' if done.anew else 'was there already, made of the same'}", err=True)
    raise typer.Exit(REJECTED if done.refused else 0)
