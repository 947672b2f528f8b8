"""`feltsense leakage` calls a clean split clean and refutes every planted leak by name."""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from trainer.cli import commands
from trainer.data.labelled import Labelled
from trainer.errors import LeakFound, TrainerError
from trainer.plan import Linear, Plan, Source
from trainer.splits import audit, leakage, ledger, record, split
from trainer.splits.ledger import Ledger
from worker.bundle import manifest
from worker.errors import UsageError
from worker.events.reflection import Reflection
from worker.events.taxonomy import taxonomy

START = datetime(2026, 1, 1, tzinfo=UTC)
LINEAR = Linear(value=1.0, classes=1.0, flags=1.0)
PLAN = Plan(
    name="t", folds=3, ngrams=LINEAR, embedding=LINEAR, sources={"diary": Source(unlearn_shared=True)}
)
WORDS = ("river", "office", "mother", "rain", "window", "garden", "letter", "music", "train", "bread")


def sentence(rng):
    return " ".join(f"{rng.choice(WORDS)}{rng.integers(90)}" for _ in range(10))


def row(number, person, day, text, source="diary"):
    reflection = Reflection(
        id=f"r{number}",
        user_id=person,
        text=text,
        created_at=START + timedelta(days=float(day)),
        utc_offset_min=0,
    )
    return Labelled(reflection=reflection, labels={"valence": (number % 5) / 4}, source=source)


@pytest.fixture(scope="module")
def rows():
    """60 people who begin one after another and write on 4 days each; one of the last began long before."""
    rng = np.random.default_rng(5)
    begun = {person: 3 * person for person in range(60)}
    made = [(f"u{person}", begun[person] + 2 * visit) for person in range(60) for visit in range(4)]
    made.append(("u59", 1))
    return [row(at, person, day, sentence(rng)) for at, (person, day) in enumerate(made)]


@pytest.fixture(scope="module")
def parts(rows):
    return split.make(rows, PLAN, taxonomy(), count=3, seed=1)


def cross_fitted(parts):
    """The ledger of a right cross-fit on three levels, with the refit models."""
    book = parts.ledger()
    fold, learned = parts.fold[parts.inside], parts.learned[parts.inside]
    for level in ledger.LEVELS:
        for number in range(3):
            book.add(level, "valence", number, (fold != number) & learned, fold == number)
        book.add(level, "valence", ledger.REFIT, learned)
    for number in range(3):
        past = (fold != number) & learned
        book.add("base", "Tm", number, past, fold == number, inputs=("calibrator/valence",))
    return book


def verdicts(checks):
    return {check.name: check.violations for check in checks if check.violations}


def lines(rows, parts, *, text=True):
    numbers = parts.record
    names = ("train", "validation", "test", "history", "embargo")
    return [
        {
            "id": one.reflection.id,
            "user_id": one.reflection.user_id,
            "created_at": one.reflection.created_at.isoformat(),
            "source": one.source,
            "part": names[parts.part[at]],
            "fold": int(parts.fold[at]),
            "cluster": int(numbers.cluster[at]),
            **({"text": one.reflection.text} if text else {}),
        }
        for at, one in enumerate(rows)
    ]


def models(rows, parts):
    ids = np.array([one.reflection.id for one in rows])
    return [
        {
            "level": one.level,
            "name": one.name,
            "number": one.number,
            "trained": ids[one.trained].tolist(),
            "predicted": ids[one.predicted].tolist(),
            "inputs": one.inputs,
        }
        for one in cross_fitted(parts).entries
    ]


def write(path, listed):
    path.write_bytes(b"\n".join(orjson.dumps(line) for line in listed))
    return path


def test_a_real_split_and_a_right_cross_fit_are_clean_on_every_check(rows, parts):
    texts = [one.reflection.text for one in rows]

    checks = audit.examine(parts.record, ledger=cross_fitted(parts), texts=texts)

    assert verdicts(checks) == {}
    assert all(check.looked for check in checks)


def test_the_same_holds_of_its_listing_and_the_command_says_so(rows, parts, tmp_path):
    path = write(tmp_path / "splits.jsonl", lines(rows, parts) + models(rows, parts))

    shown = CliRunner().invoke(commands, ["leakage", str(path)])

    assert shown.exit_code == 0
    assert shown.stdout.count("clean") == 14
    assert "not checked" not in shown.stdout


def test_what_cannot_be_checked_is_not_called_clean(rows, parts, tmp_path):
    path = write(tmp_path / "splits.jsonl", lines(rows, parts, text=False))

    unchecked = [check.name for check in leakage.inspect(path) if check.looked is None]

    assert len(unchecked) == 8
    assert "near-duplicates compared anew in two parts or folds" in unchecked


def first(listed, **wanted):
    return next(line for line in listed if all(line[name] == value for name, value in wanted.items()))


def person_between_parts(listed):
    first(listed, part="test")["user_id"] = first(listed, part="train")["user_id"]


def person_between_folds(listed):
    one = first(listed, part="train")
    one["fold"] = (one["fold"] + 1) % 3


def row_inside_the_embargo(listed):
    block = min(line["created_at"] for line in listed if line["part"] == "validation")
    late = datetime.fromisoformat(block) - timedelta(days=6)
    first(listed, part="train")["created_at"] = late.isoformat()


def copy_between_parts(listed):
    one, other = first(listed, part="train"), first(listed, part="test")
    other["text"] = one["text"].replace(" ", ", ") + " indeed"


def copy_between_folds(listed):
    one, other = first(listed, part="train", fold=0), first(listed, part="train", fold=1)
    other["text"] = one["text"].upper() + "!!"


def copy_of_a_validation_text_in_test(listed):
    first(listed, part="test")["text"] = first(listed, part="validation")["text"]


def cluster_between_folds(listed):
    first(listed, part="train", fold=0)["cluster"] = first(listed, part="train", fold=1)["cluster"]


def held_out_rows_learned_from(listed):
    first(listed, part="test")["learned"] = True


def dropped_row_learned_from(listed):
    first(listed, part="embargo")["learned"] = True


def history_of_a_train_person(listed):
    first(listed, part="train")["part"] = "history"


def the_same_row_twice(listed):
    listed.append(dict(first(listed, part="train")))


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (person_between_parts, "people in two parts or folds"),
        (person_between_folds, "people in two parts or folds"),
        (history_of_a_train_person, "people in two parts or folds"),
        (row_inside_the_embargo, "rows inside the 7-day embargo"),
        (copy_between_parts, "near-duplicates compared anew in two parts or folds"),
        (copy_between_folds, "near-duplicates compared anew in two parts or folds"),
        (copy_of_a_validation_text_in_test, "equal texts in two parts or folds"),
        (cluster_between_folds, "near-duplicate clusters in two parts or folds"),
        (held_out_rows_learned_from, "rows learned from that nobody may learn from"),
        (dropped_row_learned_from, "rows learned from that nobody may learn from"),
        (the_same_row_twice, "ids twice in the split"),
    ],
)
def test_a_leak_planted_in_a_split_is_refuted_by_name(rows, parts, tmp_path, plant, named):
    listed = lines(rows, parts)
    plant(listed)
    path = write(tmp_path / "splits.jsonl", listed)

    assert named in verdicts(leakage.inspect(path))
    shown = CliRunner().invoke(commands, ["leakage", str(path)])
    assert isinstance(shown.exception, LeakFound)
    assert shown.exception.exit_code == 3
    assert named in str(shown.exception)


def trained_on_another_folds_training_set(book, parts):
    """Fold 0's model had fold 1's training set, which holds fold 0's own rows."""
    one, other = (next(e for e in book.entries if e.level == "base" and e.number == n) for n in (0, 1))
    return {one: dataclasses.replace(one, trained=other.trained)}


def trained_on_the_persons_other_row(book, parts):
    one = book.entries[0]
    at = int(np.flatnonzero(one.predicted & parts.learned)[0])
    trained, predicted = one.trained.copy(), one.predicted.copy()
    trained[at], predicted[at] = True, False
    return {one: dataclasses.replace(one, trained=trained, predicted=predicted)}


def refit_values_under_the_gate(book, parts):
    refit = next(e for e in book.entries if e.level == "base" and e.number == ledger.REFIT)
    return {refit: dataclasses.replace(refit, predicted=refit.trained)}


def refit_values_under_the_calibrator(book, parts):
    gates = [e for e in book.entries if e.level == "gate"]
    refit = next(e for e in gates if e.number == ledger.REFIT)
    return {one: None for one in gates if one is not refit} | {
        refit: dataclasses.replace(refit, predicted=refit.trained)
    }


def calibrator_of_values_nobody_predicted(book, parts):
    one = next(e for e in book.entries if e.level == "gate" and e.number == 0)
    return {one: None}


def base_of_values_nobody_predicted(book, parts):
    one = next(e for e in book.entries if e.name == "Tm")
    return {one: dataclasses.replace(one, inputs=("calibrator/valence", "calibrator/arousal"))}


def gate_trained_on_test_rows(book, parts):
    one = next(e for e in book.entries if e.level == "gate")
    return {one: dataclasses.replace(one, trained=one.trained | (parts.part == 2))}


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (trained_on_another_folds_training_set, "base predictions in fold"),
        (trained_on_another_folds_training_set, "gates fitted on in-fold values"),
        (trained_on_the_persons_other_row, "base predictions in fold"),
        (refit_values_under_the_gate, "gates fitted on in-fold values"),
        (refit_values_under_the_calibrator, "calibrators fitted on in-fold values"),
        (calibrator_of_values_nobody_predicted, "calibrators fitted on in-fold values"),
        (base_of_values_nobody_predicted, "bases fitted on in-fold values"),
        (gate_trained_on_test_rows, "trained on rows that are not to be learned from"),
    ],
)
def test_a_leak_planted_in_the_lineage_is_refuted_by_name(parts, tmp_path, plant, named):
    book = cross_fitted(parts)
    planted = plant(book, parts)
    book.entries = [one for one in (planted.get(e, e) for e in book.entries) if one is not None]
    (tmp_path / "splits.npz").write_bytes(parts.record.to_bytes())
    (tmp_path / "lineage.npz").write_bytes(book.to_bytes())

    assert named in verdicts(leakage.inspect(tmp_path / "splits.npz"))


def test_record_and_lineage_come_back_from_their_files_which_are_equal_for_equal_splits(parts, tmp_path):
    book = cross_fitted(parts)
    for name, made in (("splits.npz", parts.record.to_bytes()), ("lineage.npz", book.to_bytes())):
        (tmp_path / name).write_bytes(made)

    kept = record.read(tmp_path / "splits.npz")
    models_kept = ledger.read(tmp_path / "lineage.npz")

    assert kept.fingerprint == parts.record.fingerprint == parts.certificate["fingerprint"]
    assert kept.to_bytes() == parts.record.to_bytes()
    assert models_kept.to_bytes() == book.to_bytes() == cross_fitted(parts).to_bytes()
    for one, other in zip(models_kept.entries, book.entries, strict=True):
        assert (one.trained == other.trained).all()
        assert (one.predicted == other.predicted).all()


def test_no_name_and_no_text_is_in_the_file(rows, parts, tmp_path):
    (tmp_path / "splits.npz").write_bytes(parts.record.to_bytes())

    with np.load(tmp_path / "splits.npz", allow_pickle=False) as held:
        kinds = {name: held[name].dtype.kind for name in held.files}

    assert [name for name, kind in kinds.items() if kind not in "iub"] == ["names"]


def test_the_record_tells_what_no_fitted_part_has_seen(rows, parts):
    taught = next(one for one, part in zip(rows, parts.part, strict=True) if part == 0)
    rng = np.random.default_rng(77)
    asked = [
        row(900, "stranger", 0, sentence(rng)),
        row(901, taught.reflection.user_id, 0, sentence(rng)),
        row(902, "stranger", 0, taught.reflection.text.upper() + "!"),
        row(903, "stranger", 0, taught.reflection.text + " indeed"),
    ]

    assert parts.record.unseen(asked).tolist() == [True, False, False, False]
    by_part = {part: parts.record.unseen([one]).item() for one, part in zip(rows, parts.part, strict=True)}
    assert by_part[0] is by_part[1] is False
    assert by_part[2] is True
    held_out = (parts.part > 0) & (parts.part < 4)
    assert (parts.record.unseen(rows, chosen_on=True) == held_out)[parts.part < 4].all()
    assert parts.record.part_of([rows[0], asked[0]]) == ["train", None]


def test_the_record_knows_whose_rows_it_holds(parts):
    assert parts.record.holds("u3")
    assert not parts.record.holds("u60")


def test_a_listing_that_is_none_is_a_wrong_call_that_names_the_line_and_quotes_nothing(tmp_path):
    good = {"id": "a", "user_id": "u", "created_at": "2026-01-01T00:00:00Z", "source": "s", "part": None}
    bad = good | {"fold": "secret words", "cluster": None}
    path = write(tmp_path / "splits.jsonl", [good | {"fold": 0, "cluster": None}, bad])

    with pytest.raises(TrainerError, match="line 2: fold") as caught:
        leakage.inspect(path)

    assert caught.value.exit_code == 2
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="neither a bundle"):
        leakage.inspect(tmp_path / "missing")


def test_rows_of_the_data_that_are_not_the_splits_are_noticed(rows, parts, tmp_path):
    (tmp_path / "splits.npz").write_bytes(parts.record.to_bytes())
    changed = [dataclasses.replace(rows[0].reflection, text="something else altogether"), rows[1].reflection]
    data = [dataclasses.replace(one, reflection=new) for one, new in zip(rows, changed, strict=False)]

    checks = leakage.inspect(tmp_path / "splits.npz", data)

    assert verdicts(checks) == {"rows whose person, time or text is not the split's": 1}


def test_an_unknown_level_is_refused():
    with pytest.raises(TrainerError, match="no level leaf"):
        Ledger(2).add("leaf", "x", 0, np.ones(2, dtype=bool))


def bundle(folder, parts, book):
    """A bundle folder with nothing but what the audit reads."""
    folder.mkdir()
    (folder / record.NAME).write_bytes(parts.record.to_bytes())
    (folder / ledger.NAME).write_bytes(book.to_bytes())
    files = {name: manifest.digest_of(folder / name) for name in sorted(manifest.files_in(folder))}
    facts = manifest.Manifest(
        format=manifest.FORMAT, name="t", model_version=manifest.version_of(files), created_at="2026-01-01",
        feature_schema="any", taxonomy="1", encoder=manifest.EncoderFacts(name="e", digest="d", width=1),
        ngram_bits=10, files=files, data=[], splits={}, evidence={}, metrics={}, leakage=parts.certificate,
        libraries={}, seed=1,
    )  # fmt: skip
    (folder / manifest.NAME).write_text(facts.model_dump_json())
    return folder


def test_a_bundle_with_its_splits_and_lineage_is_clean(parts, tmp_path):
    shown = CliRunner().invoke(commands, ["leakage", str(bundle(tmp_path / "b", parts, cross_fitted(parts)))])

    assert shown.exit_code == 0
    assert "files changed since the bundle was made" in shown.stdout


def splits_exchanged(folder, parts, other):
    (folder / record.NAME).write_bytes(other.record.to_bytes())


def lineage_removed(folder, parts, other):
    (folder / ledger.NAME).unlink()


def manifest_of_other_splits(folder, parts, other):
    """Files and digests fit one another, the certificate is the old one."""
    (folder / record.NAME).write_bytes(other.record.to_bytes())
    told = orjson.loads((folder / manifest.NAME).read_bytes())
    told["files"][record.NAME] = manifest.digest_of(folder / record.NAME)
    told["model_version"] = manifest.version_of(told["files"])
    (folder / manifest.NAME).write_bytes(orjson.dumps(told))


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (splits_exchanged, "files changed since the bundle was made"),
        (lineage_removed, "files changed since the bundle was made"),
        (manifest_of_other_splits, "certificates of another split"),
    ],
)
def test_tampered_splits_are_refuted(rows, parts, tmp_path, tamper, named):
    folder = bundle(tmp_path / "b", parts, cross_fitted(parts))
    tamper(folder, parts, split.make(rows, PLAN, taxonomy(), count=3, seed=2))

    assert named in verdicts(leakage.inspect(folder))


def test_a_bundle_that_does_not_record_a_level_proves_nothing_about_it(parts, tmp_path):
    book = cross_fitted(parts)
    book.entries = [one for one in book.entries if one.level == "base" and not one.inputs]

    checks = leakage.inspect(bundle(tmp_path / "b", parts, book))

    assert verdicts(checks) == {"levels whose models are not on record": 2}
    assert leakage.table(checks, "t").columns[3]._cells.count("nothing there") == 5


def test_a_folder_without_splits_is_a_wrong_call(parts, tmp_path):
    with pytest.raises(UsageError, match="is no bundle"):
        leakage.inspect(tmp_path)
