import re

import pytest
from ktpy_agent.baggage import member_regex


def found(header: str, key: str = "ktpy-version", value: str = "foobar") -> bool:
    return re.search(member_regex(key, value), header) is not None


@pytest.mark.parametrize(
    "header",
    [
        "ktpy-version=foobar",
        "a=1,ktpy-version=foobar",
        "ktpy-version=foobar,a=1",
        "a=1 , \tktpy-version \t= foobar ,b=2",
        "ktpy-version=foobar;property",
        "ktpy-version=foobar ;p=1;q, b=2",
        "a=1;p=x,ktpy-version=foobar;q",
        "ktpy-version=foo%62ar",
        "ktpy-version=%66%6f%6F%62%61%72",
    ],
)
def test_the_member_is_found(header: str) -> None:
    assert found(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "ktpy-version=foobarx",
        "ktpy-version=xfoobar",
        "ktpy-version=foo bar",
        "ktpy-version=",
        "xktpy-version=foobar",
        "KTPY-VERSION=foobar",
        "ktpy-version=FOOBAR",
        "ktpyxversion=foobar",
        "a=1;ktpy-version=foobar",  # a property of another member
        "a=ktpy-version=foobar",
        "ktpy-version=foobar%20",
        "ktpy-version%3Dfoobar",
    ],
)
def test_nothing_else_is(header: str) -> None:
    assert not found(header)


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("a b", "k=a%20b"),
        ("a,b;c", "k=a%2Cb%3bc"),
        ('"\\', "k=%22%5C"),
        ("100%", "k=100%25"),
        ("\u00e9", "k=%C3%a9"),
        ("a=b", "k=a=b"),
        ("a=b", "k=a%3db"),
        ("a.b+c*(d)[e]{f}|g^h$i?", "k=a.b+c*(d)[e]{f}|g^h$i?"),
    ],
)
def test_what_has_to_be_encoded_and_what_may_be(value: str, header: str) -> None:
    assert found(header, "k", value)


@pytest.mark.parametrize("header", ["k=a b", "k=axb", "k=a%b"])
def test_an_octet_that_has_to_be_encoded_stands_for_nothing_by_itself(header: str) -> None:
    assert not found(header, "k", "a b")
    assert not found("k=100%", "k", "100%")


def test_a_key_of_special_characters_is_taken_literally() -> None:
    assert found("a.b|c*=1", "a.b|c*", "1")
    assert not found("axb=1", "a.b", "1")
