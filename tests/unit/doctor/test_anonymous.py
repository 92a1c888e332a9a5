import base64
import json
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.doctor.anonymous import PUBLIC, REMOVED, Anonymiser

KINDS = ("user", "host", "namespace", "service", "secret")
_PIECES = st.text(string.ascii_letters + string.digits + "éßİſ", min_size=1, max_size=8)
_WORDS = st.lists(_PIECES, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from("-._/@:").map(lambda joint: joint.join(parts))
)
_BETWEEN = st.sampled_from([" ", "-", ".", "/", "_", ": ", "\n", '"', "@", "=", "", "é", "://"])


def survives(word: str, text: str) -> bool:
    """Tell whether a word is in the text as a word, as a reader would find it."""
    return re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text, re.IGNORECASE) is not None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(KINDS), _WORDS), min_size=1, max_size=6), st.data())
def test_no_word_of_the_list_survives(words: list[tuple[str, str]], data: st.DataObject) -> None:
    """Wherever it stands: in a sentence, a path, a URL, a key of the user's, in other letters, beside another word."""
    pieces = st.one_of(
        _PIECES,
        st.sampled_from([word for _, word in words]).flatmap(
            lambda word: st.sampled_from([word, word.upper(), word.title(), word.replace("-", "_")])
        ),
    )
    text = "".join(data.draw(st.lists(st.one_of(pieces, _BETWEEN), max_size=12)))
    document = {"seen": text, "logs": [{"lines": [{"text": text}, text]}], "variables": {text: text}, "port": 80}
    found = Anonymiser(words).value(document)
    said = "\n".join([found["seen"], *found["variables"], *found["variables"].values(), found["logs"][0]["lines"][1]])
    assert not [word for _, word in words if word.lower() not in PUBLIC and survives(word, said)]
    assert (found["logs"][0]["lines"][0]["text"], found["port"]) == (found["seen"], 80)


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=24, max_size=80))
def test_no_token_survives(key: bytes) -> None:
    secret = f"Aa1{base64.b64encode(key).decode()}"
    for text in (
        f"Bearer {secret}",
        f"said {secret}.",
        f"https://me:{secret.replace('/', '_')}@h/",
        f"token={secret}",
        key.hex() + "0" * 8,
    ):
        assert secret not in (said := Anonymiser([]).text(text))
        assert REMOVED in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web.shop.svc.cluster.local and WEB_PORT", "service1.namespace1.svc.cluster.local and service1_PORT"),
        ("webs of the workshop", "webs of the workshop"),
        ("al@box dials https://api.acme.com:6443/v1", "user1@host1 dials https://host2:6443/v1"),
        ("bob@box.acme.com", "user2@host2"),
        ("/home/al/.kube/config", "home1/.kube/config"),
        ("8.8.8.8:53, 10.0.0.1, 8.8.8.0/24, v1.36.3", "address1:53, 10.0.0.1, address2/24, v1.36.3"),
        ("[2600::1]:443 fd00::1 12:30:45 ::1", "[address1]:443 fd00::1 12:30:45 ::1"),
        (
            "networking.k8s.io ghcr.io/ktpy/agent main.py resolv.conf",
            "networking.k8s.io ghcr.io/ktpy/agent main.py resolv.conf",
        ),
        ("namespace default of root", "namespace default of root"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nx", f"{REMOVED}\nx"),
        ("eyJhbGciOi.eyJzdWIi.c2ln and password: hunter2", f"{REMOVED} and password: {REMOVED}"),
    ],
)
def test_what_is_replaced(text: str, said: str) -> None:
    words = [
        ("user", "al"),
        ("host", "box"),
        ("namespace", "shop"),
        ("service", "web"),
        ("home", "/home/al"),
        ("user", "root"),
        ("namespace", "default"),
    ]
    assert Anonymiser(words).text(text) == said


def test_a_stand_in_is_part_of_no_word() -> None:
    anonymiser = Anonymiser([("service", "web"), ("service", "service1"), ("host", "service2.example.com")])
    assert anonymiser.text("web service1") == "service3 service4"
    assert json.dumps(anonymiser.counts) == '{"service": 4, "host": 1}'
