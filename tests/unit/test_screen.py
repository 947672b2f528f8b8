"""The lexical risk screen on labelled cases, and what it costs."""

import re
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.events.variables import FLAGS
from worker.features.text import read
from worker.risk.level import THRESHOLDS, level
from worker.risk.screen import rules, screen

CASES = {
    "suicidal_ideation": """
        I want to kill myself
        i dont want to be here anymore
        I just wanna die
        everyone would be better off without me
        I wish I was never born
        I keep thinking about ending my life
        there is no reason to live
        I am tired of living
        not gonna lie i want to die
        can't stop thinking about killing myself
        I took a handful of pills last night
        the only reason I'm still here is my cat
        I hope I go to sleep and never wake up
        i feel suicidal again
        I wrote a suicide note
        standing on the ledge
        main marna chahta hoon
        mujhe ab nahi jeena
        jeene ka mann nahi karta
        khudkushi ke khayal aate hain
        zindagi se thak gayi hoon
        apni jaan dena chahti hoon
        sab mere bina khush rahenge
        khud ko khatam kar lunga
        kaash main mar jaun
        मैं मरना चाहता हूँ
        मुझे जीने का मन नहीं करता
    """,
    "self_harm": """
        I cut myself last night
        I started cutting again
        thoughts of self-harm are back
        I want to hurt myself
        I burned myself with a lighter on purpose
        hiding the scars on my arms
        the blade against my wrist
        I made myself throw up after dinner
        I keep hitting myself when I fail
        khud ko chot pahuchane ka mann karta hai
        maine apna haath kaat liya
        blade se haath kaata
        apne aap ko takleef deti hoon
    """,
    "harm_to_others": """
        I want to kill him
        I'm going to hurt her so badly
        I'll make them pay for this
        I want to bring a gun to school
        I keep imagining stabbing my boss
        they all deserve to die
        I hit my wife yesterday
        usko jaan se maar dunga
        main badla lunga
        goli maar dunga use
        मैं उसको मार डालूंगा
    """,
    "abuse": """
        he hits me when he drinks
        my husband slapped me again
        my dad beats us every night
        I was raped by a colleague
        he won't let me leave the house
        she threatens me every day
        my ex choked me
        I am in an abusive relationship
        I'm scared of my husband
        he forced himself on me
        my uncle touched me inappropriately
        mere pati mujhe maarte hain
        papa roz mujhe belt se maarte hain
        usne mere saath zabardasti ki
        sasural wale mujhe gaali dete hain
        mujhe kamre mein band kar diya
        मेरे पति मुझे मारते हैं
    """,
    "financial_coercion": """
        he takes my salary every month
        my husband controls all the money
        she won't let me have a bank account
        he made me quit my job
        my ex took out a loan in my name
        I have to show him receipts for everything
        they forced me to sign the property papers
        he is blackmailing me for money
        he gives me an allowance and nothing more
        meri salary le leta hai
        pati paise nahi dete
        dahej ke liye maangte hain
        mere naam pe loan le liya
        naukri nahi karne dete
        mera atm card rakh liya
    """,
    "sociopathic_cues": """
        I enjoy manipulating people
        I feel no remorse at all
        people are just tools to me
        I love watching people suffer
        mujhe maza aata hai logon ko tadpa kar
    """,
    "sarcasm": """
        oh great, another monday
        yeah right
        just what I needed today
        what could possibly go wrong
        so helpful /s
        waah kya kismat hai meri
    """,
    "profanity": """
        what the fuck is this
        such an asshole
        holy shit
        son of a bitch
        bhenchod kya din tha
        chutiya boss
    """,
}
HARMLESS = """
    this homework is killing me
    I nearly died of laughter
    dying to see the new film
    my feet are killing me after the hike
    marr gaya hasi se
    hasi se mar gaya yaar
    bhookh se mar raha hoon
    I'd kill for a coffee
    my mom will kill me if I am late
    we killed it at the presentation
    I cut myself shaving
    cut myself some slack today
    I beat him at chess
    the song hit me hard
    he almost hit me with his car
    hit me up later
    I could burn myself out at this pace
    shoot me an email
    my phone is dead
    dead tired after work
    I don't want him to die
    I would never hurt myself
    I never think about suicide
    I'm not suicidal
    I don't want to die
    main khud ko nuksan nahi pahuchaunga
    main marna nahi chahta
    In the movie the hero killed himself
    the article says he committed suicide
    life is worth living
    I am tired of this traffic
    I plan to go to sleep early
    let's call it a day and go home
    chai bana li, baarish ho rahi hai
    aaj bahut accha din tha
    the main reason is the weather
    we saved money for the trip
    she gave me her salary news over dinner
    mummy ne paise diye
    bas ab ghar jaana hai
    gym ne maar dala aaj
    मैं आज बहुत खुश हूँ
"""


def lines(block: str) -> list[str]:
    return [line.strip() for line in block.strip().split("\n")]


@pytest.mark.parametrize(
    ("flag", "written"), [(flag, text) for flag, block in CASES.items() for text in lines(block)]
)
def test_a_clear_phrase_reaches_its_threshold(flag: str, written: str) -> None:
    assert screen(read(written))[FLAGS.index(flag)] >= THRESHOLDS[flag]


@pytest.mark.parametrize("written", lines(HARMLESS))
def test_an_idiom_a_denial_or_a_story_is_no_more_than_low(written: str) -> None:
    assert level(screen(read(written))) in ("none", "low")


def test_a_denied_phrase_stays_visible() -> None:
    assert 0 < screen(read("I would never hurt myself"))[FLAGS.index("self_harm")] < THRESHOLDS["self_harm"]


def test_somebody_else_at_risk_is_medium() -> None:
    assert level(screen(read("he told us he wants to commit suicide"))) == "medium"


def test_one_clear_phrase_counts_however_long_the_text_around_it() -> None:
    padding = "we walked along the river and talked about the garden. " * 80
    assert level(screen(read(f"{padding}I want to kill myself. {padding}"))) == "high"


@pytest.mark.parametrize(
    "rule",
    sorted({rule for found in rules().by_anchor.values() for rule in found}, key=lambda r: r.source),
    ids=lambda r: r.source[:50],
)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_string_a_pattern_matches_holds_an_anchor(rule, data: st.DataObject) -> None:
    line = data.draw(st.from_regex(re.compile(rf"(?:{rule.source})", re.ASCII), fullmatch=True))
    if rule.pattern.fullmatch(line):
        assert rule.anchors & set(re.findall(r"[\w']+", line))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_no_text_makes_it_fail_or_leave_the_unit_interval(written: str) -> None:
    scores = screen(read(written))
    assert scores.shape == (len(FLAGS),)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


@given(
    st.lists(
        st.sampled_from([*sorted(rules().anchors), "i", "want", "to", "my", "not", ",", "nahi"]), max_size=40
    )
)
def test_words_of_risk_in_any_order_stay_in_the_unit_interval(words: list[str]) -> None:
    scores = screen(read(" ".join(words)))
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize(
    "part",
    [
        "kill ",
        "he hit ",
        "i want to ",
        "mere paise nahi ",
        "i want to kill he hit me money my life is ",
        "word ",
        " ".join(sorted(rules().anchors)) + " ",
    ],
    ids=lambda part: part[:20],
)
def test_ten_thousand_adversarial_characters_are_quick(part: str) -> None:
    text = read((part * 10_000)[:10_000])
    screen(text)
    took = []
    for _ in range(3):
        began = time.process_time()
        screen(text)
        took.append(time.process_time() - began)
    assert min(took) < 0.06  # measured under 0.02 on a quiet machine; backtracking would take seconds
