"""Telling English, romanised Hindi, their mix, Devanagari and everything else apart."""

import pytest

from worker.features.text import read


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("I had a long day at work and I am so tired", "en"),
        ("the main issue is us and the bus to do", "en"),
        ("He gave me two hats in the sun", "en"),
        ("Met Priya for chai, it was lovely", "en"),
        ("lonely, sad, tired", "en"),
        ("main aaj office gaya tha, bahut thak gaya hoon", "hi-Latn"),
        ("kal mera exam hai, bahut dar lag raha hai", "hi-Latn"),
        ("mujhe nahi pata kya karu yaar", "hi-Latn"),
        ("udaas", "hi-Latn"),
        ("Today was good but ghar aake mood kharab ho gaya, I just want to sleep", "mixed"),
        ("My boss is so annoying yaar, kuch samajhta hi nahi and I feel stressed", "mixed"),
        ("आज मैं बहुत खुश हूँ", "hi"),
        ("आज office में काम ज़्यादा था", "hi"),
    ],
)
def test_supported_languages(written: str, code: str) -> None:
    language = read(written).language
    assert (language.code, language.supported) == (code, True)


@pytest.mark.parametrize(
    "written",
    [
        "Hoy estoy muy triste porque no tengo nada que hacer",
        "Je suis très fatigué aujourd'hui et je ne sais pas quoi faire",
        "Ich bin heute sehr traurig und weiß nicht warum",
        "Hoje estou muito feliz com a minha vida",
        "Oggi sono molto stanco ma felice perché ho finito",
        "Ik ben vandaag heel blij met mijn nieuwe huis",
        "Hari ini saya sangat sedih karena tidak bisa tidur",
        "Bugün çok mutlu değil gibi hissediyorum ama iyi",
        "Dzisiaj jestem bardzo zmęczony ale to nic",
        "Masaya ako ngayon pero malungkot ang kaibigan ko",
        "अरे मला आज खूप वाईट आहे आणि माझी मुलगी आहे आणि",
        "مرحبا كيف حالك اليوم",
        "今日はとても悲しいです",
        "Сегодня мне очень грустно",
        "நான் இன்று மிகவும் சோகமாக இருக்கிறேன்",
        "qwer asdf zxcv poiu lkjh mnbv tyui ghjk",
    ],
)
def test_other_languages_are_not_supported(written: str) -> None:
    language = read(written).language
    assert (language.code, language.supported) == ("other", False)


@pytest.mark.parametrize("written", ["😭😭😭", "!!!", "42", "", "hmm", "ok", "Paris", "triste"])
def test_too_little_to_tell_counts_as_supported_english(written: str) -> None:
    language = read(written).language
    assert (language.code, language.supported) == ("en", True)


def test_the_hint_decides_only_what_the_text_leaves_open() -> None:
    assert read("main to ho").language.code == "en"
    assert read("main to ho", "hi-Latn").language.code == "hi-Latn"
    assert read("I am very tired of my work", "hi-Latn").language.code == "en"
    assert read("mujhe bahut dukh hai", "en").language.code == "hi-Latn"
    assert not read("Сегодня мне очень грустно", "en").language.supported


def test_the_share_of_hindi_grows_with_its_words() -> None:
    shares = [
        read(text).language.hinglish
        for text in ("I am sad", "I am sad yaar, bahut zyada", "main bahut dukhi hoon")
    ]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
