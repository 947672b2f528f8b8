"""Settings come from the environment, are checked once, and the README says all of them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from trainer.settings import TrainerSettings
from worker.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def test_a_device_plan_is_a_list_with_commas(monkeypatch):
    monkeypatch.setenv("FELTSENSE_DEVICE_PLAN", "NPU, CPU")
    assert Settings().device_plan == ("NPU", "CPU")


def test_a_bad_value_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("FELTSENSE_CONCURRENCY", "none")
    with pytest.raises(ValidationError, match="concurrency"):
        Settings()


def test_risk_thresholds_name_known_flags_and_shares(monkeypatch):
    monkeypatch.setenv("FELTSENSE_RISK_THRESHOLDS", "abuse=0.4, self_harm=.5")
    assert Settings().risk_thresholds == {"abuse": 0.4, "self_harm": 0.5}
    for wrong, word in (("abuze=0.4", "'abuze' is no flag"), ("abuse=0", "above 0"), ("abuse=x", "abuse")):
        monkeypatch.setenv("FELTSENSE_RISK_THRESHOLDS", wrong)
        with pytest.raises(ValidationError, match=word):
            Settings()


def test_the_event_key_is_not_shown():
    assert "c2VjcmV0" not in repr(Settings(event_key="c2VjcmV0"))


def test_a_setting_may_be_a_file_and_a_variable_wins(tmp_path, monkeypatch):
    (tmp_path / "feltsense_database_url").write_text("postgresql://from-a-file\n")
    (tmp_path / "feltsense_event_key").write_text("c2VjcmV0\n")
    (tmp_path / "feltsense_trainer_study_url").write_text("postgresql://studies\n")
    monkeypatch.setenv("FELTSENSE_SECRETS_DIR", str(tmp_path))
    assert Settings().database_url == "postgresql://from-a-file"
    assert Settings().wire_key == "c2VjcmV0"
    assert TrainerSettings().study_address == "postgresql://studies"
    monkeypatch.setenv("FELTSENSE_DATABASE_URL", "postgresql://from-a-variable")
    assert Settings().database_url == "postgresql://from-a-variable"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_has_a_row_for_each_setting_with_its_default(name):
    field = Settings.model_fields[name]
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    shown = "unset" if default is None else str(default)
    assert f"| `FELTSENSE_{name.upper()}` | `{shown}` | {field.description} |" in README.read_text()
