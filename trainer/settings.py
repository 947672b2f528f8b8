"""The trainer's own settings: environment variables `FELTSENSE_TRAINER_*`; what is fitted is in the plan,
not here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from worker.settings import Configured, listed

Paths = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
"""In the environment with commas between."""


class TrainerSettings(Configured):
    """Where the trainer keeps what it can compute again, how much of the machine it takes, what it does on
    which schedule, and whether it may promote."""

    model_config = SettingsConfigDict(
        env_prefix="FELTSENSE_TRAINER_", env_file=".env", extra="ignore", frozen=True
    )

    cache_dir: Path = Field(
        default=Path(".cache"), description="Folder of the exported encoder and of cached embeddings."
    )
    gives_way: bool = Field(
        default=True,
        description="Whatever else runs on the machine has its processors and disks first; set it to false "
        "where the trainer is what matters.",
    )
    inference_threads: int = Field(default=2, ge=1, description="CPU threads of the encoder.")
    streams: int = Field(default=2, ge=1, description="Encoder batches computed at once on the CPU.")
    study_url: SecretStr | None = Field(
        default=None,
        description="Database of its own for the search's studies (postgresql+psycopg://...); a file beside "
        "the bundle when unset.",
    )

    broker_url: str | None = Field(
        default=None,
        description="Redis-protocol URL of the trainer's tasks; the next database of FELTSENSE_BROKER_URL's "
        "server when unset.",
    )
    concurrency: int = Field(default=4, ge=2, le=64, description="Tasks of one trainer at once.")
    distributed: bool = Field(
        default=False, description="Folds and trials of every rebuild are computed by all trainers."
    )
    artefacts: str = Field(
        default="run/trainer/artefacts",
        description="Where trainers leave arrays for each other: a folder or an fsspec URL that all of them "
        "reach.",
    )
    work_dir: Path = Field(
        default=Path("run/trainer"),
        description="Folder of rebuilds under way; they hold numbers, no texts.",
    )
    data: Paths = Field(
        default=(),
        description="Labelled JSONL files, comma-separated, that a scheduled rebuild adds to the operator's "
        "labels.",
    )
    plan: str = Field(default="quick", description="Plan of a scheduled rebuild: a name or a TOML file.")
    rebuild_schedule: str = Field(
        default="0 3 * * sun", description="When the models are rebuilt: a cron line in UTC, empty for never."
    )
    drift_schedule: str = Field(
        default="30 1 * * *", description="When inputs and outputs are checked for drift: a cron line in UTC."
    )
    calibration_schedule: str = Field(
        default="0 2 * * *",
        description="When values are checked against self-reports: a cron line in UTC.",
    )
    drift_days: float = Field(
        default=7.0, gt=0, description="Newest days that a check compares with those after the promotion."
    )
    reference_days: float = Field(
        default=14.0, gt=0, description="Days after the promotion that a check takes for normal."
    )
    early_rebuild: bool = Field(
        default=True,
        description="An alarm of drift or calibration starts a rebuild before its time, once a week at most.",
    )
    promote: Literal["manual", "auto"] = Field(
        default="manual",
        description="auto: a scheduled rebuild that is proven better serves at once; manual: it is tried "
        "beside the serving one until somebody promotes it.",
    )

    llm_url: str | None = Field(
        default=None,
        description="OpenAI-compatible endpoint of base Ll, off when unset; it is sent every training text.",
    )
    llm_model: str | None = Field(default=None, description="The endpoint's model.")
    llm_key: SecretStr | None = Field(default=None, description="The endpoint's key, if it wants one.")
    llm_timeout_s: float = Field(
        default=120.0, gt=0, le=600, description="Longest a chunk of texts waits for base Ll."
    )
    llm_concurrency: int = Field(
        default=4, ge=1, le=64, description="Questions under way to the endpoint at once."
    )

    @property
    def study_address(self) -> str | None:
        """`study_url` in the clear."""
        return None if self.study_url is None else self.study_url.get_secret_value()
