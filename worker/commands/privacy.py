"""`feltsense erase`, `retention`, `reseal`, `roles` and `bundle sign`: what protects people and what is
theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from worker.commands.configured import opened, settings
from worker.errors import REJECTED, ServiceMissing, UsageError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


def commands(plain: dict[str, Any]) -> typer.Typer:
    """The commands; `plain` is how every group of the program is made."""
    app = typer.Typer(**plain)
    for command in (erase, retention, reseal, roles):
        app.command()(command)
    return app


def erase(
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="The user_id of the events.")],
    bundles: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Also look at the bundles in this folder; may repeat."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Remove everything of a person, for good.

    Reflections, history, perceptions, labels, reviews, dead letters, data keys, and what of theirs waits in
    the queue; what a worker has in hand is refused when it comes to be stored. Names the bundles trained on
    them: of this database, the configured one, and those in --bundles. Exit code 3 when parked messages could
    not be looked into.

    \b
    Example: feltsense erase u-17 --bundles bundles
    """
    from worker.bundle.people import bundles_in, holds, people_of
    from worker.bundle.reader import STARTER
    from worker.client.addresses import broker_url
    from worker.client.recall import recall
    from worker.events.envelope import Seal
    from worker.store import removal

    chosen = settings()
    key = chosen.wire_key
    # Folders first: what cannot be read is said before anything is gone.
    folders = [*([chosen.bundle] if chosen.bundle else [STARTER]), *(bundles or ())]
    if absent := [folder for folder in bundles or () if not folder.is_dir()]:
        raise UsageError(f"{absent[0]} is no folder")
    trained = [folder for folder in bundles_in(folders) if holds(people_of(folder), users)]
    with opened(chosen) as store:
        seal = Seal.maybe(key)
        gone = removal.erase(store, users, seal=seal, dry_run=dry_run)
    try:
        queued = recall(broker_url(chosen), users, seal=seal, dry_run=dry_run)
        left = f"{queued.events} queued events {'would go' if dry_run else 'are gone'}"
        if queued.closed:
            left += f"; {queued.closed} queued messages are sealed with another key"
    except ServiceMissing as error:
        left = f"the queue was not searched: {error}"
    typer.echo(
        f"{gone.reflections} reflections, {gone.labels} labels and {gone.letters} dead letters"
        f" {'would go' if dry_run else 'are gone'};"
        f" {len(gone.cleared)} messages parked as a whole {'would be' if dry_run else 'were'} cleared of them"
    )
    typer.echo(f"{left}; what still comes of before now is refused")
    for version in gone.trained_versions:
        typer.echo(f"trained on them: model version {version}")
    for folder in trained:
        typer.echo(f"trained on them: bundle {folder}")
    if not (trained or gone.trained_versions):
        typer.echo("no bundle at hand was trained on them")
    if gone.closed:
        numbers = ", ".join(map(str, gone.closed))
        typer.echo(
            f"sealed with a key that is not at hand, so whose they are is unknown: dead letters {numbers}",
            err=True,
        )
        raise typer.Exit(REJECTED)


def retention(dry_run: DryRun = False) -> None:
    """Forget what is older than the settings allow, now.

    FELTSENSE_RETENTION_TEXT_DAYS drops texts and payloads, FELTSENSE_RETENTION_DAYS whole reflections and
    dead letters; running workers do the same once an hour.

    \b
    Example: FELTSENSE_RETENTION_DAYS=730 feltsense retention
    """
    from worker.store.retention import count, forget

    chosen = settings()
    limits = {"text_days": chosen.retention_text_days, "days": chosen.retention_days}
    if not any(limits.values()):
        raise UsageError("set FELTSENSE_RETENTION_TEXT_DAYS or FELTSENSE_RETENTION_DAYS")
    with opened(chosen) as store:
        gone = (count if dry_run else forget)(store, **limits)
    typer.echo(
        f"{gone.texts} texts, {gone.payloads} payloads, {gone.reflections} reflections and"
        f" {gone.letters} dead letters {'would go' if dry_run else 'are gone'}"
    )


def reseal() -> None:
    """Bring what is stored under the first key of FELTSENSE_TEXT_KEYS.

    Wraps every person's data key anew, and seals texts and payloads that are still plain. Run it after a key
    was set or changed; then the other keys may go. Exit code 3 while something needs a key that is not there.

    \b
    Example: FELTSENSE_TEXT_KEYS=$NEW,$OLD feltsense reseal
    """
    from worker.store.reseal import reseal as run

    with opened(settings()) as store:
        done = run(store)
    typer.echo(
        f"{done.persons} persons' keys wrapped anew, {done.texts} texts and {done.payloads} payloads sealed"
    )
    for kid, count in sorted(done.lost.items()):
        typer.echo(f"{count} data keys are wrapped under key {kid}, which is not at hand", err=True)
    raise typer.Exit(REJECTED if done.lost else 0)


def roles(
    apply: Annotated[bool, typer.Option("--apply", help="Run it on the database instead.")] = False,
) -> None:
    """Print the SQL of the database roles, each with no more rights than its work needs.

    feltsense_migrator, _worker, _trainer, _reader and _reviewer are groups without a login. Run it again
    after every migration; --apply wants the owner of the tables, with the right to create roles.

    \b
    Example: feltsense roles | psql "$FELTSENSE_DATABASE_URL"
    """
    from worker.store import roles as granted

    if not apply:
        typer.echo(granted.SQL, nl=False)
        return
    with opened(settings()) as store:
        granted.apply(store)
    typer.echo(f"granted: {', '.join(granted.NAMES)}")


def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle folder.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Ed25519 private key, PEM without a password.")],
) -> None:
    """Vouch for a bundle.

    Checks that it is whole, signs its manifest and prints the public key: workers whose FELTSENSE_BUNDLE_KEYS
    hold it take the bundle, and refuse one that nobody signed. Make a key with: openssl genpkey -algorithm
    ed25519 -out bundle.key

    \b
    Example: feltsense bundle sign bundles/mine --key bundle.key
    """
    from worker.bundle import manifest, signature

    manifest.read(folder)
    typer.echo(signature.sign(folder, key))
