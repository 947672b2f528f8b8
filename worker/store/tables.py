"""The journey's end: the tables a row of Feltsense comes to rest in, as SQLAlchemy sees them.

Alembic owns the schema (`migrations/`); a test proves both say the same. The hot path writes by hand-made SQL
(`deliveries.py`, `perceptions.py`). Identifiers collate "C", so that Postgres orders (created_at, id) as
Python does.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    desc,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Identifier = Annotated[str, mapped_column(Text(collation="C"))]
Key = Annotated[str, mapped_column(Text(collation="C"), primary_key=True)]
Serial = Annotated[int, mapped_column(BigInteger, primary_key=True, autoincrement=True)]
OfReflection = Annotated[
    str,
    mapped_column(Text(collation="C"), ForeignKey("reflections.id", ondelete="CASCADE"), primary_key=True),
]
Stamped = Annotated[datetime, mapped_column(server_default=func.now())]
Object = Annotated[dict[str, Any], mapped_column(JSONB)]
NOTHING = text("'{}'")


def _within(column: str, low: int = 0, high: int = 1) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=column)


def _one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )
    type_annotation_map: ClassVar = {
        str: Text,
        float: Double,
        bytes: LargeBinary,
        date: Date,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


class PersonRow(Base):
    """One person by the SHA-256 of the user id: data keys (each `wrapped` under the operator's key of its
    `kids`) and, once erased, until when nothing of theirs is taken."""

    __tablename__ = "persons"
    __table_args__ = (
        CheckConstraint("length(person) = 32", name="person"),
        CheckConstraint("cardinality(kids) = cardinality(wrapped) AND cardinality(kids) < 256", name="kids"),
    )

    person: Mapped[bytes] = mapped_column(primary_key=True)
    kids: Mapped[list[str]] = mapped_column(server_default=NOTHING)
    wrapped: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary), server_default=NOTHING)
    erased_at: Mapped[datetime | None]


class ReflectionRow(Base):
    """The newest accepted revision of an event and its lexical risk screen, committed before any model runs.

    A deleted reflection stays as a tombstone (no text, no self-report), so that a late redelivery cannot
    bring it back.
    """

    __tablename__ = "reflections"
    __table_args__ = (
        CheckConstraint("revision >= 1", name="revision"),
        CheckConstraint("num_nonnulls(text, sealed) <= 1", name="sealed"),
        _within("self_valence"),
        _within("self_arousal"),
        _within("screen_score"),
        _one_of("screen_level", "none", "low", "medium", "high"),
        Index("reflections_user_id_created_at_idx", "user_id", desc("created_at")),
        Index(
            "reflections_screen_idx",
            desc("screen_score"),
            postgresql_where=text("screen_level IN ('medium', 'high')"),
        ),
        Index("reflections_received_at_idx", "received_at"),
    )

    id: Mapped[Key]
    user_id: Mapped[Identifier]
    revision: Mapped[int]
    created_at: Mapped[datetime]
    utc_offset_min: Mapped[int]
    timezone: Mapped[str | None]
    local_day: Mapped[date]
    lang: Mapped[str | None]
    device: Mapped[str | None]
    text: Mapped[str | None]
    sealed: Mapped[bytes | None]
    digest: Mapped[bytes]
    self_valence: Mapped[float | None]
    self_arousal: Mapped[float | None]
    self_emotion: Mapped[list[str] | None]
    consent_training: Mapped[bool]
    received_at: Mapped[Stamped]
    screen_level: Mapped[str]
    screen_score: Mapped[float]
    screen: Mapped[Object]
    deleted_at: Mapped[datetime | None]


class TraceRow(Base):
    """What stage A left for stage B: little-endian float64 vectors."""

    __tablename__ = "traces"
    __table_args__ = (
        Index("traces_timeline_idx", "user_id", "model_version", desc("created_at"), desc("reflection_id")),
    )

    reflection_id: Mapped[OfReflection]
    model_version: Mapped[Key]
    user_id: Mapped[Identifier]
    created_at: Mapped[datetime]
    static: Mapped[bytes]
    history: Mapped[bytes]


class PerceptionRow(Base):
    """The seven variables of one reflection under one model version; `revision` is the one they were read
    from.

    `risk_score` is the highest uncalibrated flag: calibration flattens ranks, and the risk queue needs them.
    `repaired_by`: the reflections whose arrival, edit or removal the last repair answered.
    """

    __tablename__ = "perceptions"
    __table_args__ = (
        CheckConstraint("revision >= 1", name="revision"),
        *map(
            _within,
            ("valence", "arousal", "willingness", "congruence", "expected_valence", "expected_arousal"),
        ),
        _within("comparator", -1, 1),
        _within("risk_score"),
        _one_of("risk_level", "none", "low", "medium", "high"),
        CheckConstraint("cardinality(invoked) <= 3", name="invoked"),
        CheckConstraint("cardinality(expressed) <= 3", name="expressed"),
        Index("perceptions_user_id_created_at_idx", "user_id", desc("created_at"), desc("reflection_id")),
        Index(
            "perceptions_risk_idx",
            desc("risk_score"),
            postgresql_where=text("risk_level IN ('medium', 'high')"),
        ),
    )

    reflection_id: Mapped[OfReflection]
    model_version: Mapped[Key]
    user_id: Mapped[Identifier]
    revision: Mapped[int]
    created_at: Mapped[datetime]
    valence: Mapped[float]
    arousal: Mapped[float]
    invoked: Mapped[list[str]]
    expressed: Mapped[list[str]]
    willingness: Mapped[float]
    congruence: Mapped[float]
    comparator: Mapped[float]
    expected_valence: Mapped[float]
    expected_arousal: Mapped[float]
    intervals: Mapped[Object]
    emotions: Mapped[Object]
    language: Mapped[str]
    language_supported: Mapped[bool]
    risk_level: Mapped[str]
    risk_score: Mapped[float]
    risk: Mapped[Object]
    provenance: Mapped[Object]
    timings: Mapped[Object]
    enriched_at: Mapped[Stamped]
    repaired_at: Mapped[datetime | None]
    repaired_by: Mapped[list[str] | None]


class RepairRow(Base):
    """A change in a person's past (`cause`: the reflection) whose far rows, or all of them (`whole`), are
    still to be placed again."""

    __tablename__ = "repairs"
    __table_args__ = (
        Index("repairs_model_version_id_idx", "model_version", "id"),
        Index("repairs_user_id_idx", "user_id"),
    )

    id: Mapped[Serial]
    user_id: Mapped[Identifier]
    model_version: Mapped[Identifier]
    changed_at: Mapped[datetime]
    cause: Mapped[Identifier]
    whole: Mapped[bool] = mapped_column(server_default=text("false"))
    requested_at: Mapped[Stamped]


class DeliveryRow(Base):
    """How far an accepted revision has come, and who has it in hand; `model_version` is pinned at its first
    delivery and moves only with a lease that ran out or was given back.

    `attempts` counts those that ended with their worker; `begun` says whether the owner's end would be one.
    `message_id` and `position` name the place its dead letter would have.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        _one_of("state", "accepted", "done", "dead"),
        Index("deliveries_open_idx", "accepted_at", postgresql_where=text("state = 'accepted'")),
    )

    reflection_id: Mapped[OfReflection]
    revision: Mapped[int] = mapped_column(primary_key=True)
    model_version: Mapped[Identifier]
    state: Mapped[str]
    attempts: Mapped[int]
    lane: Mapped[str]
    accepted_at: Mapped[Stamped]
    finished_at: Mapped[datetime | None]
    owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    begun: Mapped[bool] = mapped_column(server_default=text("true"))
    message_id: Mapped[str | None]
    position: Mapped[int | None]


class DeadLetterRow(Base):
    """An event (`position` in its message) or a whole message (-1) that cannot be enriched, with its
    reason."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        UniqueConstraint("message_id", "position"),
        CheckConstraint("position >= -1", name="position"),
        Index("dead_letters_reflection_id_idx", "reflection_id"),
        Index("dead_letters_user_id_idx", "user_id"),
    )

    id: Mapped[Serial]
    message_id: Mapped[Identifier]
    position: Mapped[int]
    reflection_id: Mapped[Identifier | None]
    revision: Mapped[int | None]
    user_id: Mapped[Identifier | None]
    reason: Mapped[str]
    field: Mapped[str | None]
    detail: Mapped[str]
    payload: Mapped[bytes | None]
    sealed: Mapped[bool] = mapped_column(server_default=text("false"))
    attempts: Mapped[int]
    parked_at: Mapped[Stamped]
    retried_at: Mapped[datetime | None]


class LabelRow(Base):
    """What somebody says a reflection really is: the person (with consent), a reviewer, an annotator."""

    __tablename__ = "labels"
    __table_args__ = (
        _one_of("source", "self_report", "reviewer", "annotator"),
        _within("valence"),
        _within("arousal"),
        _within("willingness"),
        Index("labels_user_id_idx", "user_id"),
    )

    reflection_id: Mapped[OfReflection]
    source: Mapped[Key]
    user_id: Mapped[Identifier]
    valence: Mapped[float | None]
    arousal: Mapped[float | None]
    willingness: Mapped[float | None]
    invoked: Mapped[list[str] | None]
    expressed: Mapped[list[str] | None]
    labelled_at: Mapped[Stamped]


class ModelVersionRow(Base):
    """A bundle this database has seen, and where it lies. `people` holds the digests (`worker.bundle.people`)
    of whom it was trained on; one version at most serves (`active`), one at most is tried beside it."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("digest"),
        Index("model_versions_active_idx", "active", unique=True, postgresql_where=text("active")),
        Index(
            "model_versions_shadow_idx",
            text("(shadow_since IS NOT NULL)"),
            unique=True,
            postgresql_where=text("shadow_since IS NOT NULL"),
        ),
    )

    version: Mapped[Key]
    digest: Mapped[str]
    manifest: Mapped[Object]
    people: Mapped[bytes] = mapped_column(server_default=text("''"))
    active: Mapped[bool] = mapped_column(server_default=text("false"))
    registered_at: Mapped[Stamped]
    activated_at: Mapped[datetime | None]
    location: Mapped[str | None]
    shadow_since: Mapped[datetime | None]


class ModelEventRow(Base):
    """Something that happened to a bundle: the history of what served when, and why."""

    __tablename__ = "model_events"
    __table_args__ = (
        _one_of(
            "kind",
            *("registered", "shadowed", "refused", "promoted", "rolled_back", "swapped", "swap_failed"),
            "reenriched",
        ),
        Index("model_events_version_at_idx", "version", "at"),
    )

    id: Mapped[Serial]
    version: Mapped[str] = mapped_column(
        Text(collation="C"), ForeignKey("model_versions.version", ondelete="CASCADE")
    )
    kind: Mapped[str]
    at: Mapped[Stamped]
    detail: Mapped[Object] = mapped_column(server_default=NOTHING)


class ReenrichmentRow(Base):
    """A wish for rows of `version` where they are missing: of `users` (NULL: everybody), created at `since`
    or later (NULL: ever)."""

    __tablename__ = "reenrichments"
    __table_args__ = (Index("reenrichments_version_idx", "version", "id"),)

    id: Mapped[Serial]
    version: Mapped[str] = mapped_column(
        Text(collation="C"), ForeignKey("model_versions.version", ondelete="CASCADE")
    )
    since: Mapped[datetime | None]
    users: Mapped[list[str] | None]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class TrainingRunRow(Base):
    """One rebuild; `slot` names the scheduled time, so that two schedulers start it once."""

    __tablename__ = "training_runs"
    __table_args__ = (
        UniqueConstraint("slot"),
        _one_of("state", "running", "done", "failed"),
    )

    id: Mapped[Serial]
    slot: Mapped[str]
    plan: Mapped[Object]
    state: Mapped[str]
    model_version: Mapped[str | None] = mapped_column(
        Text(collation="C"), ForeignKey("model_versions.version", ondelete="SET NULL")
    )
    metrics: Mapped[Object] = mapped_column(server_default=NOTHING)
    detail: Mapped[str | None]
    started_at: Mapped[Stamped]
    finished_at: Mapped[datetime | None]


class ReviewRow(Base):
    """A reviewer read this revision of a risky reflection."""

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint("revision >= 1", name="revision"),
        Index("reviews_reflection_id_idx", "reflection_id", "revision"),
    )

    id: Mapped[Serial]
    reflection_id: Mapped[str] = mapped_column(
        Text(collation="C"), ForeignKey("reflections.id", ondelete="CASCADE")
    )
    revision: Mapped[int]
    reviewer: Mapped[str]
    decision: Mapped[str]
    note: Mapped[str | None]
    reviewed_at: Mapped[Stamped]


class SlotRow(Base):
    """One scheduled time of one task: the insertion of its row is the right to run it. Its owner renews
    `heartbeat`; one whose owner fell silent is taken over, which counts as another of `attempts`."""

    __tablename__ = "slots"
    __table_args__ = (
        _one_of("state", "running", "done", "skipped", "failed"),
        Index("slots_running_idx", "heartbeat", postgresql_where=text("state = 'running'")),
    )

    name: Mapped[Key]
    slot: Mapped[datetime] = mapped_column(primary_key=True)
    owner: Mapped[Identifier | None]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("1"))
    heartbeat: Mapped[Stamped]
    progress: Mapped[Object] = mapped_column(server_default=NOTHING)
    detail: Mapped[Object] = mapped_column(server_default=NOTHING)
    began_at: Mapped[Stamped]
    finished_at: Mapped[datetime | None]


class DriftCheckRow(Base):
    """One measure on one slice of a drift check: `effect` beyond chance, and how often `chance` alone would
    do as much; an alarm is both certain and larger than `floor`."""

    __tablename__ = "drift_checks"
    __table_args__ = (
        _one_of("kind", "inputs", "outputs", "calibration"),
        Index("drift_checks_checked_at_idx", "checked_at"),
    )

    slot: Mapped[str] = mapped_column(primary_key=True)
    measure: Mapped[str] = mapped_column(primary_key=True)
    slice: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    model_version: Mapped[Identifier]
    effect: Mapped[float]
    floor: Mapped[float]
    chance: Mapped[float]
    alarm: Mapped[bool]
    reference_rows: Mapped[int]
    current_rows: Mapped[int]
    reference_people: Mapped[int]
    current_people: Mapped[int]
    checked_at: Mapped[Stamped]
