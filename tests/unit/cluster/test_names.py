import re

import pytest

from ktpy.cluster import names

LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@pytest.mark.parametrize(
    ("user", "label"),
    [
        ("alice", "alice"),
        ("alice@example.org", "alice-example.org"),
        ("system:serviceaccount:ci:bot", "system-serviceaccount-ci-bot"),
        ("ACME\\bob", "ACME-bob"),
        ("_carol_", "carol"),
        ("Ünal", "nal"),
        ("", "unknown"),
        ("@@@", "unknown"),
    ],
)
def test_owner_label(user: str, label: str) -> None:
    assert names.owner_label(user) == label


def test_owner_label_of_a_long_name_is_cut_at_a_legal_place() -> None:
    label = names.owner_label("x" * 62 + "-" + "y" * 20)
    assert label == "x" * 62


def test_labels_are_legal() -> None:
    for value in names.labels("shadow", owner="arn:aws:iam::1:role/dev", session=names.new_session_id()).values():
        assert LABEL_VALUE.fullmatch(value)


def test_the_pods_of_the_job_get_legal_names() -> None:
    assert DNS_LABEL.fullmatch(names.shadow_name(names.new_session_id()) + "-abcde")


def test_session_ids_differ() -> None:
    assert len({names.new_session_id() for _ in range(100)}) == 100


def test_the_annotation_key_is_legal() -> None:
    prefix, _, name = names.authorized_key_annotation(names.new_session_id()).partition("/")
    assert prefix == "ktpy.dev"
    assert LABEL_VALUE.fullmatch(name)


@pytest.mark.parametrize("service", ["web", "a" * 50, "a" * 63, "a" * 40 + "-" * 3 + "b" * 20])
def test_derived_names_are_legal(service: str) -> None:
    for name in (names.gateway_name(service), names.origin_name(service)):
        assert DNS_LABEL.fullmatch(name)


def test_derived_names_of_long_names_differ_and_stay_the_same() -> None:
    first, second = "a" * 62 + "b", "a" * 62 + "c"
    assert names.origin_name(first) != names.origin_name(second)
    assert names.origin_name(first) == names.origin_name(first)


def test_short_names_are_readable() -> None:
    assert names.gateway_name("web") == "web-ktpy-gateway"


def test_what_annotations_tell_of_sessions() -> None:
    annotations = {"note": "x", names.holder_annotation("a"): "al", names.authorized_key_annotation("b"): "ssh-ed25519"}
    assert names.holders(annotations) == {"a": "al"}
    assert names.authorized_sessions(annotations) == {"b"}


@pytest.mark.parametrize("service", ["1web", "2" * 63])
def test_derived_names_begin_with_a_letter(service: str) -> None:
    for name in (names.gateway_name(service), names.origin_name(service)):
        assert re.fullmatch("[a-z][-a-z0-9]{0,61}[a-z0-9]", name)
    assert names.origin_name("1web") != names.origin_name("s1web")
