"""The trainer's own settings: environment variables `FELTSENSE_TRAINER_*`; what is fitted is in the plan,
not here."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from worker.settings import Configured


class TrainerSettings(Configured):
    """Where the trainer keeps what it can compute again, and how much of the machine it takes."""

    model_config = SettingsConfigDict(
        env_prefix="FELTSENSE_TRAINER_", env_file=".env", extra="ignore", frozen=True
    )

    cache_dir: Path = Field(
        default=Path(".cache"), description="Folder of the exported encoder and of cached embeddings."
    )
    inference_threads: int = Field(default=2, ge=1, description="CPU threads of the encoder.")
    streams: int = Field(default=2, ge=1, description="Encoder batches computed at once on the CPU.")
    study_url: SecretStr | None = Field(
        default=None,
        description="Database of its own for the search's studies (postgresql+psycopg://...); a file beside "
        "the bundle when unset.",
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
