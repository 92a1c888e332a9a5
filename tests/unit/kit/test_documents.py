"""Commands are read from a document as a reader reads them, and what they print is compared in shape."""

import re
from pathlib import Path

import pytest

from tests.kit.documents import Command, Malformed, missing, sections

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "tests/e2e/inline_commands").glob("*.md")]
TEXT = """
# First

```yaml
# a/shop.yaml
namespace: shop
```

<!-- run: echo one > index.html
echo two >> index.html -->
```console
$ serve --forever
it serves

$ ask    # this one in another terminal
one
  two

$ ask again
```

## Second

<!-- not run: it takes an index -->

```sh
# only a comment
install it              # for all
                        #   goes on here
install that
```

```text
nothing to type
```
"""


def test_commands_are_read_in_their_order() -> None:
    first, second = sections(TEXT)
    assert first.title == "First"
    assert first.files == {"a/shop.yaml": "# a/shop.yaml\nnamespace: shop\n"}
    [terminal] = first.blocks
    assert terminal.first == "echo one > index.html\necho two >> index.html"
    assert terminal.commands == [
        Command(12, "serve --forever", ("it serves",), stays=True),
        Command(15, "ask    # this one in another terminal", ("one", "  two")),
        Command(19, "ask again"),
    ]
    [script] = second.blocks
    assert script.reason == "it takes an index"
    assert [command.text for command in script.commands] == ["install it              # for all", "install that"]


def test_what_is_shown_to_end_by_ctrl_c_stays() -> None:
    [section] = sections("```console\n$ forward\nready\nCtrl-C ends it and undoes everything.\n```\n")
    assert section.blocks[0].commands[0].stays


def test_a_shown_error_is_a_failure() -> None:
    [section] = sections("```console\n$ begin\nerror: there is none.\n$ begin this\n```\n")
    assert [command.fails for command in section.blocks[0].commands] == [True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```\n$ ktpy list\n```\n", "`console` or `sh`"),
        ("    $ ktpy list\n", "fenced block `console`"),
        ("```console\nktpy list\n```\n", "begins with"),
        ("<!-- not run: it is long -->\ntext\n```sh\nktpy list\n```\n", "before a fenced block"),
        ("<!-- run: true -->\n```yaml\na: b\n```\n", "`console` or `sh`"),
        ("```sh\nktpy list\n", "not closed"),
        ("```console\n$ ktpy mesh\n$ curl web  # in another terminal\n```\n", "when it is ready"),
    ],
)
def test_what_would_be_forgotten_is_malformed(text: str, told: str) -> None:
    with pytest.raises(Malformed, match=told):
        sections(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documents_can_be_read(page: Path) -> None:
    for section in sections(page.read_text()):
        for block in section.blocks:
            assert block.commands, (page.name, block.line)
            for path in re.findall(r"tests/\S+\.py", block.reason):
                assert (ROOT / path).exists(), (page.name, block.line)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("  pod     ktpy-shadow-9a3174b684-vz9p7: is (1.25 s)", "  pod  ktpy-shadow-0b3174b684-x2f9k: is (9 s)"),
        ("web greets you from pod web-7bc7d557b8-pr4vl", "web greets you from pod web-6f5d9cc4b-zzzzz"),
        ("connected to lab (https://10.99.0.1:6443), as east", "connected to lab (https://10.1.0.17:443), as east"),
        ("07:12:59.334     1    80    200   1.4 ms   14 B GET", "23:00:01.001  12    80    200   1.2 s   1.5 KB GET"),
        ("web     dev@laptop  2026-11-29T10:37:22Z  tap", "web     dev@laptop  2031-01-01T00:00:00Z  tap"),
        ("it began (... after 0.7 s); it ended", "it began (made after 0.1 s, on node1 after 1.2 s); it ended"),
        ("session 3f9c21ab44: requests", "session 0000000001: requests"),
        ("Open http://127.0.0.1:39281/" + "a" * 43 + "/ now", "Open http://127.0.0.1:1/" + "B-_" * 14 + "x/ now"),
        ("/home/alice/shop/.ktpy.toml:1  connect", "/home/dev/.ktpy.toml:12  connect"),
        ("(10.96.0.0/16, fd96::/108)", "(10.0.0.0/8, fd00:1:2::/64)"),
    ],
)  # fmt: skip
def test_other_values_have_the_same_shape(shown: str, printed: str) -> None:
    assert missing([shown], [printed]) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("pod ktpy-shadow-9a3174b684-vz9p7: started", "pod ktpy-shadow-9a3174b684-vz9p7: created"),
        ("web greets you from pod web-7bc7d557b8-pr4vl", "web greets you from pod catalog-7bc7d557b8-pr4vl"),
        ("port 80 to local port 3001  (up)", "port 80 to local port 3001  (down)"),
        ("took 0.8 s", "took long"),
        ("namespace shop", "namespace  shop2"),
        ("two words", "twowords"),
    ],
)
def test_other_words_have_not(shown: str, printed: str) -> None:
    assert missing([shown], [printed]) == shown


@pytest.mark.parametrize(
    ("shown", "printed", "told"),
    [
        (["a", "...", "d"], ["a", "b", "c", "d"], None),
        (["a", "  ...", "d"], ["a", "d"], None),
        (["...", "d", "...", "f"], ["d", "d", "e", "f"], None),
        (["a", "..."], ["a", "b"], None),
        (["a", "...", "d", "e"], ["a", "d", "c"], "e"),
        (["a"], ["a", "b"], "(more than that: b)"),
        (["a", "b"], ["a"], "b"),
        (["a"], [], "a"),
        (["a"], ["  pod       x: started (4.05 s)", "a", "  ssh  a session (9.10 s)"], None),
        (["a"], ["  note      it takes some time", "a"], "a"),
        (
            ["  pod       x: started (1.00 s)", "a"],
            ["  pod       x: created (4.05 s)", "a"],
            "  pod       x: started (1.00 s)",
        ),
    ],
)
def test_an_ellipsis_is_any_lines(shown: list[str], printed: list[str], told: str | None) -> None:
    assert missing(shown, printed) == told


def test_what_is_not_over_may_print_more() -> None:
    assert missing(["a"], ["a", "b"], is_over=False) is None
    assert missing(["a", "b"], ["a"], is_over=False) == "b"
