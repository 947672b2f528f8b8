"""The plan of a rebuild: which rows count how much for what, and how every part is fitted. One TOML file,
validated here."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.errors import TrainerError
from trainer.hpo.spaces import Search
from worker.inference.minilm import LAYERS

FOLDER = Path(__file__).with_name("plans")
DISTRIBUTIONS = ("expressed", "invoked")


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Part):
    """How one source takes part. `cap`: most rows taken (whole people, drawn by the seed). `weight` and
    `weights` (by target) multiply a row's weight; 0 leaves it out. `spread` (by target) stretches labels
    around .5: y' = .5 + spread (y - .5), clipped to 0-1, for scales whose averaged ratings use only the
    middle. `person_power` p weighs a row by 1 / rows-of-its-person^p."""

    cap: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, ge=0)
    weights: dict[str, float] = Field(default_factory=dict)
    spread: dict[str, float] = Field(default_factory=dict)
    person_power: float = Field(default=0.0, ge=0, le=1)
    reads: dict[str, str] = Field(
        default_factory=dict, description="A target that another label of the source stands for, by its name."
    )
    unlearn_shared: bool = Field(
        default=False, description="Texts that several people wrote alike are predicted, never learned from."
    )
    no_risk: float = Field(
        default=0.0,
        ge=0,
        description="Weight as unlabelled negatives of the flags that such texts hardly hold.",
    )
    seen_as_felt: float = Field(
        default=0.0,
        ge=0,
        description="Weight of `expressed` labels as a stand-in for missing `invoked` ones.",
    )


class Trees(Part):
    """LightGBM on lexical features; `class_rounds` for the multiclass model. `targets` by name: settings of
    that target's trees that differ."""

    learning_rate: float = 0.05
    rounds: int = 150
    class_rounds: int = 50
    leaves: int = 15
    least_rows: int = 30
    column_share: float = 0.5
    row_share: float = 0.8
    penalty: float = 5.0
    targets: dict[str, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _settings(self) -> Trees:
        for name in self.targets:
            self.of(name)
        return self

    def of(self, name: str) -> Trees:
        """The settings of the target `name`'s trees."""
        if name not in self.targets:
            return self
        return Trees.model_validate({**self.model_dump(exclude={"targets"}), **self.targets[name]})


class Linear(Part):
    """Penalties of linear heads, per unit of total row weight: larger is smoother. `steps`: most L-BFGS
    iterations."""

    value: float
    values: dict[str, float] = Field(default_factory=dict)
    classes: float
    flags: float
    steps: int = 60

    def of(self, name: str) -> float:
        """The penalty of the value or distribution `name`; `values` names those that differ."""
        return self.values.get(name, self.classes if name in DISTRIBUTIONS else self.value)


class Net(Part):
    """The temporal net."""

    hidden: int = 16
    epochs: int = 12
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3


class Gates(Part):
    """Which gates are tried over each variable's bases, and the trees of the boosted one. The plain average
    and the best base are always tried: they are what a learned gate has to beat."""

    learned: tuple[Literal["constant", "linear", "boosted"], ...] = ("constant", "linear", "boosted")
    rounds: int = Field(default=15, ge=1)
    leaves: int = Field(default=6, ge=2, le=64)
    learning_rate: float = 0.2
    least_rows: int = 80
    tree_penalty: float = 10.0


class Transformer(Part):
    """Base Tr: how many upper layers of the encoder are tuned, and how. With `queries` so many learned
    vectors go through them and read the frozen tokens below; 0: every token goes through them. `rows`: most
    a fold; `caps`: most of a source; `sources` weigh a source's rows, `shares` a target's loss (valence,
    arousal, willingness, congruence, expressed, invoked, nuance, native, risk)."""

    layers: int = Field(default=2, ge=1, le=5)
    queries: int = Field(
        default=0, ge=0, le=32, multiple_of=2, description="Even: an odd one would feel its batch."
    )
    epochs: int = Field(default=2, ge=1)
    batch: int = 32
    learning_rate: float = 5e-4
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    focal: float = Field(default=1.0, ge=0, description="Exponent of the focal loss; 0 is cross-entropy.")
    rows: int | None = Field(default=10_000, ge=1)
    tokens: int = Field(default=96, ge=8, description="Of a longer text the beginning is learned from.")
    caps: dict[str, int] = Field(default_factory=dict)
    sources: dict[str, float] = Field(default_factory=dict)
    shares: dict[str, float] = Field(default_factory=dict)


class Plan(Part):
    """A whole recipe."""

    name: str
    seed: int = 7
    folds: int = Field(default=5, ge=3, le=7)
    ship: bool = True
    holdout: bool = Field(
        default=True,
        description="Keep validation and test parts out; false: cross-fitted and refitted on all rows.",
    )
    synthetic_people: int = Field(default=800, ge=0)
    ngram_bits: int = Field(default=17, ge=12, le=20)
    ngram_rows: int = Field(default=3, ge=1, description="Fewest training rows an n-gram bucket is seen in.")
    class_power: float = Field(
        default=0.5, ge=0, le=1, description="Emotion classes weigh 1 / frequency^power."
    )
    person_share: float = Field(
        default=0.02,
        gt=0,
        le=1,
        description="Most of a target's weight that one person may hold (among few, twice an equal part).",
    )
    trees: Trees = Trees()
    ngrams: Linear
    embedding: Linear
    personal_penalty: float = 0.05
    forecast_penalty: float = 0.05
    gate_penalty: float = Field(
        default=0.03, ge=0, description="On a linear gate's slopes, in units of the plain average's loss."
    )
    gates: Gates = Gates()
    net: Net = Net()
    transformer: Transformer | None = Field(default=None, description="None: no base Tr.")
    sentence: bool = Field(
        default=False,
        description="The embedding is read from the encoder's lower layers (trainer/features/reader.npz); "
        "its upper ones are not computed in serving.",
    )
    native: tuple[str, ...] = Field(
        default=(), description="Corpora's own classes (labels of that name) that text bases learn beside."
    )
    search: Search = Search()
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _searchable(self) -> Plan:
        self.search.check(self)
        return self

    @property
    def depth(self) -> int:
        """How many of the encoder's layers base Tr shares with the frozen encoder."""
        return LAYERS - (self.transformer.layers if self.transformer is not None else 0)

    def source(self, name: str) -> Source:
        """How `name` takes part; a source the plan does not name counts as it is."""
        return self.sources.get(name, Source())


def read(plan: str | Path) -> Plan:
    """A plan by the name of a file in `trainer/plans` or by path. Its `base` names a TOML file, seen from its
    own folder, of which it says only what differs. Raises `TrainerError` naming what is wrong with it."""
    path = FOLDER / f"{plan}.toml"
    if not path.is_file():
        path = Path(plan)
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise TrainerError(f"no plan {plan}: name one of {names}, or a TOML file") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TrainerError(f"plan {path} cannot be read: {error}") from error
    if (base := told.pop("base", None)) is not None:
        try:
            told = _merged(tomllib.loads((path.parent / str(base)).read_text(encoding="utf-8")), told)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise TrainerError(f"plan {path}: its base {base} cannot be read: {error}") from error
    try:
        return Plan.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise TrainerError(f"plan {path}: {where}: {first['msg']}") from None


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over `base`, table by table."""
    both = {
        name: _merged(base[name], value)
        for name, value in own.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **own, **both}
