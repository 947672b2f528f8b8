"""From a finished bundle to the one that serves: registered, compared, promoted or refused; read `promote`
and `consider` first.

Workers follow `model_versions`; nothing here talks to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.data.labelled import Labelled
from trainer.evaluate.judge import Progress
from trainer.promote import live
from trainer.promote.challenge import Verdict, challenge
from trainer.promote.policy import POLICY, Policy
from worker.bundle import fetch, manifest, signature
from worker.bundle.people import people_of
from worker.bundle.reader import STARTER
from worker.errors import BundleRefused, UsageError
from worker.settings import Settings
from worker.store import models
from worker.store.engine import Store
from worker.store.models import Registered

Done = Literal["promoted", "shadowed", "refused", "serves already"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of `version`; `verdict` None where nothing was compared."""

    version: str
    done: Done
    verdict: Verdict | None = None


def promote(
    store: Store,
    settings: Settings,
    bundle: str | Path,
    *,
    rows: Sequence[Labelled],
    force: bool = False,
    reason: str | None = None,
    policy: Policy = POLICY,
    tell: Progress = lambda *_: None,
) -> Outcome:
    """Somebody asks for `bundle` (a folder or a registered version) to serve: it does when no gate and no
    slice gets worse, and is refused otherwise.

    `rows`: labelled rows of files and of the operator (`trainer.data.operator.rows`); what either bundle has
    seen of them is left out. `force` serves it whatever the comparison says, and skips it; `reason` is kept.
    Raises `BundleRefused`, `UsageError`, `ServiceMissing`, `EncoderMissing`, `DeviceFailed`.
    """
    folder, version = register(store, settings, bundle)
    told = {"by": "promote"} | ({"reason": reason} if reason else {})
    champion = models.serving(store)
    if champion is not None and champion.version == version:
        return Outcome(version=version, done="serves already")
    if force or champion is None:
        why = {"forced": True} if champion else {"reasons": ["nothing served before"]}
        models.activate(store, version, detail=told | why)
        return Outcome(version=version, done="promoted")
    verdict = _challenged(store, settings, champion, folder, version, rows, policy, tell)
    if verdict.decision != "promote":
        _refuse(store, verdict, told)
        return Outcome(version=version, done="refused", verdict=verdict)
    models.activate(store, version, over=champion.version, detail=told | verdict.to_json())
    return Outcome(version=version, done="promoted", verdict=verdict)


def consider(
    store: Store,
    settings: Settings,
    bundle: str | Path,
    *,
    rows: Sequence[Labelled],
    automatic: bool,
    policy: Policy = POLICY,
    tell: Progress = lambda *_: None,
) -> Outcome:
    """A rebuild has made `bundle`: refuse it, try it beside the serving one, or, where that is `automatic`
    and it is proven better, let it serve.

    The end of a scheduled rebuild; again is harmless. `rows` and what is raised are those of `promote`.
    """
    folder, version = register(store, settings, bundle)
    champion = models.serving(store)
    if champion is not None and champion.version == version:
        return Outcome(version=version, done="serves already")
    told: dict[str, Any] = {"by": "rebuild"}
    if champion is None:
        models.activate(store, version, detail=told | {"reasons": ["nothing served before"]})
        return Outcome(version=version, done="promoted")
    verdict = _challenged(store, settings, champion, folder, version, rows, policy, tell)
    if verdict.decision == "refuse":
        _refuse(store, verdict, told)
        return Outcome(version=version, done="refused", verdict=verdict)
    if automatic and verdict.decision == "promote" and verdict.better:
        models.activate(store, version, over=champion.version, detail=told | verdict.to_json())
        return Outcome(version=version, done="promoted", verdict=verdict)
    models.shadow(store, version, detail=told | verdict.to_json())
    return Outcome(version=version, done="shadowed", verdict=verdict)


def register(store: Store, settings: Settings, bundle: str | Path) -> tuple[Path, str]:
    """Put a bundle folder into the bundle store and make it known to the database, or find a known version;
    the folder it can be read from, and its version. Again is harmless."""
    known = _known(store, str(bundle))
    if known is not None:
        return _folder(known, settings), known.version
    folder = Path(bundle)
    facts = manifest.read(folder)
    if settings.bundle_keys is not None:
        signature.check(folder, settings.bundle_keys)
    models.register(
        store,
        facts.model_version,
        digest=facts.digest,
        manifest=facts.model_dump(mode="json"),
        people=people_of(folder),
        location=fetch.kept(folder, settings.bundles),
    )
    return folder, facts.model_version


def _challenged(
    store: Store,
    settings: Settings,
    champion: Registered,
    folder: Path,
    version: str,
    rows: Sequence[Labelled],
    policy: Policy,
    tell: Progress,
) -> Verdict:
    tried = models.challenger(store)
    seen = None
    if tried is not None and tried.version == version and tried.since is not None:
        seen = live.look(store, champion=champion.version, challenger=version, since=tried.since)
    return challenge(
        _folder(champion, settings), folder, rows=rows, settings=settings, policy=policy, live=seen, tell=tell
    )


def _refuse(store: Store, verdict: Verdict, told: dict[str, Any]) -> None:
    """A refusal for lack of data leaves the version where it is; a worse one is not tried any longer."""
    store.transact(
        lambda cursor: models.record(cursor, verdict.challenger, "refused", told | verdict.to_json())
    )
    tried = models.challenger(store)
    if verdict.decision == "refuse" and tried is not None and tried.version == verdict.challenger:
        models.shadow(store, None)


def _known(store: Store, named: str) -> Registered | None:
    """The registered version of that name; None for a folder. Raises `UsageError` for what is neither."""
    if Path(named).is_dir():
        return None
    found = models.find(store, named)
    if found is None:
        raise UsageError(f"{named} is neither a bundle folder nor a registered version; see feltsense models")
    return found


def _folder(known: Registered, settings: Settings) -> Path:
    """Where the version can be read on this machine: from its location, or, where that is a folder of another
    machine, from the configured bundle or the starter."""
    problems = []
    for place in _places(known, settings):
        try:
            return fetch.fetched(place, settings.cache_dir, version=known.version)
        except BundleRefused as error:
            problems.append(str(error))
    raise UsageError(
        f"the bundle of version {known.version} cannot be read here ({'; '.join(problems)}): promote it once"
        " from its folder, with FELTSENSE_BUNDLE_STORE where every machine reaches it"
    )


def _places(known: Registered, settings: Settings) -> Iterable[str]:
    if known.location is not None:
        yield known.location
    for folder in (settings.bundle, STARTER):
        if folder is not None:
            yield str(folder.absolute())
