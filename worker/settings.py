"""The operator's settings: environment variables `FELTSENSE_*` (or a `.env` file), validated once at the
border."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from worker.events.variables import FLAGS

T = TypeVar("T")


def listed(value: object) -> object:
    """A list as the environment has it, with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _paired(value: object) -> object:
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split(",") if part.strip()]
        return {name.strip(): of.strip() for name, _, of in parts}
    return value


# NoDecode: in the environment a plan is GPU,NPU,CPU and not a JSON list.
Devices = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
ByDevice = Annotated[dict[str, T], NoDecode, BeforeValidator(_paired)]
"""In the environment GPU=2048,NPU=512."""


def _thresholds(value: object) -> object:
    """`flag=score,...`, each flag known and each score above 0 and at most 1."""
    found = _paired(value)
    if isinstance(found, dict):
        for flag, score in found.items():
            if flag not in FLAGS:
                raise ValueError(f"{flag!r} is no flag; they are {', '.join(FLAGS)}")
            if not 0 < float(score) <= 1:
                raise ValueError(f"the threshold of {flag} is to be above 0 and at most 1")
    return found


class Configured(BaseSettings):
    """From the call, the environment, `.env`, and the files of FELTSENSE_SECRETS_DIR, in this order."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  its folder would be fixed
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = SecretsSettingsSource(settings_cls, secrets_dir=os.environ.get("FELTSENSE_SECRETS_DIR"))
        return init_settings, env_settings, dotenv_settings, files


class Settings(Configured):
    """Every knob of the worker; the README's configuration table is made from the descriptions."""

    model_config = SettingsConfigDict(env_prefix="FELTSENSE_", env_file=".env", extra="ignore", frozen=True)

    secrets_dir: Path | None = Field(
        default=None,
        description="Folder with a file for a variable, named like it in small letters (`/run/secrets` of"
        " Docker); variables win.",
    )
    run_dir: Path = Field(
        default=Path("run"), description="Folder of the running instance: state file, sockets, embedded data."
    )
    cache_dir: Path = Field(
        default=Path(".cache"), description="Folder of the exported encoder and compiled models."
    )
    bundle: Path | None = Field(default=None, description="Bundle folder; the starter bundle when unset.")
    bundle_keys: str | None = Field(
        default=None,
        description="Public Ed25519 keys (base64, comma-separated): a bundle that none of them signed is"
        " refused.",
    )
    bundle_store: str | None = Field(
        default=None,
        description="Where promoted bundles are kept for all workers: a folder or an fsspec URL such as"
        " s3://bucket/bundles; run_dir/bundles when unset.",
    )
    exports: Path | None = Field(
        default=None,
        description="Folder of `feltsense export`, the encoder's graphs for GPU and NPU; none when unset.",
    )
    broker_url: str | None = Field(
        default=None, description="Redis-protocol URL; an embedded Valkey when unset."
    )
    broker_memory_mb: int = Field(
        default=1024,
        ge=16,
        description="Most the embedded Valkey's queue may take; a full one refuses messages by name.",
    )
    database_url: str | None = Field(
        default=None, description="Postgres URL; an embedded Postgres when unset."
    )

    event_key: SecretStr | None = Field(
        default=None,
        description="Base64 of 32 bytes: seals events on the wire; unsealed ones are then refused.",
    )
    store_text: Literal["keep", "drop"] = Field(
        default="keep", description="Keep the text in `reflections`, or drop it."
    )
    text_keys: SecretStr | None = Field(
        default=None,
        description="Base64 keys of 32 bytes, comma-separated: texts are kept sealed. The first seals, each"
        " opens.",
    )
    retention_text_days: int | None = Field(
        default=None,
        ge=1,
        description="Days until a text (and a dead letter's payload) is dropped; kept when unset.",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        description="Days until a reflection goes with all that was made of it; kept when unset.",
    )

    trainer: bool = Field(
        default=False,
        description="`feltsense up` also starts the trainer and its beat; they need the extra `train`.",
    )
    trainer_processes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that a trainer on this machine is made of; they share its cores.",
    )
    reconcile_schedule: str = Field(
        default="* * * * *",
        description="When what was accepted and lost is taken up again: a cron line in UTC, empty for never.",
    )
    retention_schedule: str = Field(
        default="17 * * * *", description="When what is too old is forgotten: a cron line in UTC."
    )
    clock: str | None = Field(
        default=None, description="For tests only: `START,REAL,RATE`, the clock of the schedules."
    )

    concurrency: int = Field(
        default=128,
        ge=1,
        le=256,
        description="Celery messages in flight in one worker, at most half of them bulk.",
    )
    max_batch_size: int = Field(
        default=256, ge=1, le=1024, description="Most reflections a stage takes at once."
    )
    max_wait_ms: float = Field(
        default=2.0, ge=0, le=1000, description="Longest wait of the bulk lane for a batch to fill."
    )
    lease_s: float = Field(
        default=12.0,
        ge=1,
        le=3600,
        description="A worker silent for this long is lost: what it had in hand goes to another.",
    )
    stall_s: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="A stage that computes for longer on one batch hangs: the worker is ended.",
    )
    token_budget: int = Field(
        default=256,
        ge=16,
        le=4096,
        description="Most tokens of one encoder call: the live lane may wait for one.",
    )

    shadow_traffic: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the persons whose reflections the version tried beside the serving one scores"
        " too; 0 opens none beside it.",
    )
    reenrich: bool = Field(
        default=True,
        description="After a promotion, write rows of the new version for everything older, behind all else.",
    )

    device_plan: Devices = Field(
        default=("GPU", "NPU", "CPU"),
        description="Encoder devices, first that works; also CUDA, and `GPU:f16` for a precision.",
    )
    temporal_device_plan: Devices = Field(
        default=("NPU", "CPU"), description="Temporal net devices, first that works."
    )
    precision: Literal["auto", "f32", "bf16", "f16", "int8"] = Field(
        default="auto",
        description="Encoder arithmetic where the plan names none; auto: bf16 where the device has it, f32 on"
        " a GPU.",
    )
    device_memory_mb: ByDevice[int] | None = Field(
        default=None, description="Most a device may take, as `GPU=2048`; one that needs more is skipped."
    )
    device_backends: ByDevice[str] | None = Field(
        default=None, description="Devices of your own, as `NAME=module:attribute`; see below."
    )
    device_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="A device that takes longer for a call has failed."
    )
    device_rest_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Until a failed device is tried again, doubled each time up to an hour.",
    )
    shadow_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the calls on another device than the CPU that the CPU repeats in f32.",
    )
    inference_threads: int = Field(default=2, ge=1, description="CPU threads of the encoder.")
    streams: int = Field(default=2, ge=1, description="Encoder batches computed at once on the CPU.")

    llm_url: str | None = Field(
        default=None,
        description="OpenAI-compatible endpoint of base Ll, off when unset; it is sent every text, so name"
        " one of your own machines.",
    )
    llm_model: str | None = Field(default=None, description="The endpoint's model.")
    llm_key: SecretStr | None = Field(default=None, description="The endpoint's key, if it wants one.")
    llm_timeout_s: float = Field(
        default=5.0, gt=0, le=600, description="Longest a batch waits for base Ll; what is late is masked."
    )
    llm_concurrency: int = Field(
        default=4, ge=1, le=64, description="Questions under way to the endpoint at once."
    )

    risk_thresholds: Annotated[dict[str, float], NoDecode, BeforeValidator(_thresholds)] | None = Field(
        default=None,
        description="Scores from which a risk flag counts, as `abuse=0.4,self_harm=0.5`, instead of the"
        " bundle's; see docs/risk.md.",
    )
    review_level: Literal["high", "medium"] = Field(
        default="high", description="Lowest risk level that is given to reviewers."
    )
    review_weekly_cap: int = Field(
        default=50, ge=1, le=1000, description="Most texts a reviewer may open within seven days."
    )
    review_help: str | None = Field(
        default=None, description="Helplines and what to do on `act now`, shown to reviewers as it is."
    )
    review_port: int = Field(
        default=8765, ge=0, le=65535, description="Port of the review page on 127.0.0.1; 0 picks a free one."
    )

    flower: bool = Field(default=True, description="`feltsense up` also starts Flower.")
    flower_port: int = Field(
        default=5555, ge=0, le=65535, description="Flower's port on 127.0.0.1; 0 picks a free one."
    )
    flower_user: str = Field(
        default="feltsense", pattern=r"^[\w.-]{1,64}$", description="Who may log in to Flower."
    )
    flower_password: SecretStr | None = Field(
        default=None,
        description="Their password, without commas; `feltsense up` makes one up at each start when unset.",
    )
    metrics_port: int = Field(
        default=9464,
        ge=0,
        le=65535,
        description="Prometheus metrics of the worker on 127.0.0.1; 0 picks a free one.",
    )
    exporter_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Prometheus metrics of broker and database on 127.0.0.1 (`feltsense metrics`); 0 picks a"
        " free one.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="OTLP/HTTP collector of traces, as `http://127.0.0.1:4318`; off when unset. Needs the"
        " extra `otel`.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Address the metrics listen on; `0.0.0.0` lets others read them: counts, never a text.",
    )
    faults: bool = Field(
        default=False,
        description="For tests only: a text with `feltsense-fault:` and `raise`, `hang` or `kill` does that"
        " to the worker that reads it, with `feltsense-early-fault:` before it is accepted.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity logged."
    )

    @field_validator("flower_password")
    @classmethod
    def _without_comma(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not (value.get_secret_value() and "," not in value.get_secret_value()):
            raise ValueError(
                "a password has no comma, which Flower takes for the end of it, and is not empty"
            )
        return value

    @property
    def bundles(self) -> str:
        """`bundle_store`, or where it is when unset."""
        return self.bundle_store or str(self.run_dir / "bundles")

    @property
    def wire_key(self) -> str | None:
        """`event_key` in the clear, for those that seal and open with it."""
        return self.event_key.get_secret_value() if self.event_key is not None else None
