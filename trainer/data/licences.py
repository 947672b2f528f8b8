"""Where every corpus comes from, under what licence, and whether a model trained on it may be shipped.

Bundles name the licences of their sources; `trainer.rebuild` refuses to mark a bundle as shippable with a
`no` among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """Terms of one source. `may_ship`: may a model that was trained on it be committed and given to
    others?"""

    source: str
    title: str
    licence: str
    origin: str
    may_ship: bool
    note: str = ""


_NONE = "none stated"

LICENCES: dict[str, Licence] = {
    row.source: row
    for row in (
        Licence(
            source="semeval2026",
            title="SemEval-2026 task 2, emotional valence and arousal over time",
            licence="CC0-1.0",
            origin="github.com/semeval2026task2/EmotionValArouTimeVariation2026 @ 50abd23fb884",
            may_ship=True,
            note="The organisers' repository says CC0; one participant's README says research only. "
            "We follow the organisers and name the discrepancy in the model card.",
        ),
        Licence(
            source="emobank",
            title="EmoBank (Buechel & Hahn, EACL 2017 and LAW 2017)",
            licence="CC-BY-SA-4.0",
            origin="github.com/JULIELab/EmoBank @ 248ce2a43e16",
            may_ship=True,
        ),
        Licence(
            source="goemotions",
            title="GoEmotions (Demszky et al., ACL 2020)",
            licence="CC-BY-4.0",
            origin="github.com/isabelhdias/sentiment-aware-conversational-agent @ 2023-02-12",
            may_ship=True,
            note="The licence is upstream's (google-research); the copy states none of its own.",
        ),
        Licence(
            source="offmychest",
            title="CLAff-OffMyChest (Jaidka et al., 2020)",
            licence="CC-BY-4.0",
            origin="github.com/kj2013/claff-offmychest @ 34f86516ce44",
            may_ship=True,
        ),
        Licence(
            source="empathic",
            title="Empathic Reactions (Buechel et al., EMNLP 2018)",
            licence="CC-BY-4.0",
            origin="github.com/wwbp/empathic_reactions @ 3ddbf6b35c78",
            may_ship=True,
        ),
        Licence(
            source="isarcasm",
            title="iSarcasmEval (Abu Farha et al., SemEval-2022 task 6)",
            licence="MIT",
            origin="github.com/iabufarha/iSarcasmEval @ dfc708b53bde",
            may_ship=True,
        ),
        Licence(
            source="isear",
            title="ISEAR (Scherer & Wallbott, 1994)",
            licence=_NONE,
            origin="github.com/PoorvaRane/Emotion-Detector @ 129f37c7b5f5",
            may_ship=False,
            note="No licence in this copy; published for research.",
        ),
        Licence(
            source="vreg",
            title="SemEval-2018 task 1, valence regression in English",
            licence="research only",
            origin="github.com/cbaziotis/ntua-slp-semeval2018",
            may_ship=False,
        ),
        Licence(
            source="sentimix",
            title="SentiMix Hinglish (SemEval-2020 task 9)",
            licence=_NONE,
            origin="github.com/guptaanuj166/Hinglish-Sentiment-Analysis @ a5ec188b1ee8",
            may_ship=False,
            note="No licence in this copy; published for research.",
        ),
        Licence(
            source="masac",
            title="MaSaC emotions, SemEval-2024 task 10 (EDiReF)",
            licence=_NONE,
            origin="github.com/szumadame/SemEval2024-EDiREF @ 9ea2712fa5bf",
            may_ship=False,
            note="No licence in this copy; published for research.",
        ),
        Licence(
            source="sdcnl",
            title="SDCNL (Haque et al., 2021)",
            licence=_NONE,
            origin="github.com/ayaanzhaque/SDCNL @ ddf995aabd02",
            may_ship=False,
            note="The label is the subreddit: noisy.",
        ),
        Licence(
            source="cssrs",
            title="Reddit C-SSRS suicide risk (Gaur et al., WWW 2019)",
            licence=_NONE,
            origin="github.com/AmanuelF/Suicide-Risk-Assessment-using-Reddit @ 15479cd8413c",
            may_ship=False,
            note="No licence; to be cited.",
        ),
        Licence(
            source="dreaddit",
            title="Dreaddit (Turcan & McKeown, 2019)",
            licence=_NONE,
            origin="github.com/ShirCohen1/Stress_Analysis_in_Social_Media @ 9ef1d8d4259d",
            may_ship=False,
            note="No licence in this copy.",
        ),
        Licence(
            source="synthetic",
            title="Feltsense synthetic cases",
            licence="Apache-2.0",
            origin="trainer/data/synthetic",
            may_ship=True,
        ),
    )
}


def may_ship(sources: Iterable[str]) -> bool:
    """Whether a model trained on all of `sources` may be shipped; a source without an entry may not."""
    return all(source in LICENCES and LICENCES[source].may_ship for source in sources)
