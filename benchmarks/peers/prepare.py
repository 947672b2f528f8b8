"""What the peers load, made once: `PEER_FOLDER=... python prepare.py`.

Trees of a usual size (150 each, 31 leaves) on 384 embedding and 4 lexicon columns, fitted to made-up targets,
for what they say does not matter to what they cost; and the encoder as sentence-transformers exports it for
OpenVINO.
"""

from __future__ import annotations

import lightgbm
import numpy as np
from sentence_transformers import SentenceTransformer
from work import CORES, EMOTIONS, FOLDER, NUMBERS, SCORES, encoder_folder

ROWS = 3000
TREES = 150
WIDTH = 384


def main() -> None:
    """Write the files, the trees last: whoever sees those finds everything whole."""
    exported = SentenceTransformer(str(encoder_folder()), backend="openvino", model_kwargs={"export": True})
    exported.save_pretrained(str(FOLDER / "encoder"))
    random = np.random.default_rng(0)
    vectors = random.normal(size=(ROWS, WIDTH)) / np.sqrt(WIDTH)
    features = np.hstack([vectors, random.uniform(size=(ROWS, len(SCORES)))])
    for name in NUMBERS + EMOTIONS:
        classes = len(CORES) if name in EMOTIONS else 1
        hidden = features @ random.normal(size=(features.shape[1], classes)) + random.normal(
            size=(ROWS, classes)
        )
        target = hidden.argmax(axis=1) if classes > 1 else hidden[:, 0]
        objective = {"objective": "multiclass", "num_class": classes} if classes > 1 else {}
        lightgbm.train(
            {**objective, "num_leaves": 31, "verbosity": -1, "seed": 0},
            lightgbm.Dataset(features, target),
            num_boost_round=TREES // classes,
        ).save_model(FOLDER / f"{name}.txt")


if __name__ == "__main__":
    main()
