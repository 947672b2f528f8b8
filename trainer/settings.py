"""The trainer's own settings: environment variables `FELTSENSE_TRAINER_*`; what is fitted is in the plan,
not here."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TrainerSettings(BaseSettings):
    """Where the trainer keeps what it can compute again, and how much of the machine it takes."""

    model_config = SettingsConfigDict(
        env_prefix="FELTSENSE_TRAINER_", env_file=".env", extra="ignore", frozen=True
    )

    cache_dir: Path = Field(
        default=Path(".cache"), description="Folder of the exported encoder and of cached embeddings."
    )
    inference_threads: int = Field(default=2, ge=1, description="CPU threads of the encoder.")
    streams: int = Field(default=2, ge=1, description="Encoder batches computed at once on the CPU.")
