import pytest

from ktpy.completion.shells import SCRIPTS, Question


def question(shell: str, line: str, cursor: str) -> Question:
    return Question.asked({"_KTPY_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": cursor})


@pytest.mark.parametrize(
    ("shell", "line", "cursor", "words", "typed"),
    [
        ("bash", "ktpy exchange w", "w", ["exchange"], "w"),
        ("bash", "ktpy exchange ", "", ["exchange"], ""),
        ("bash", "ktpy", "ktpy", [], ""),
        ("bash", "ktpy connect --context=arn:a", "a", ["connect"], "--context=arn:a"),
        ("bash", "ktpy run 'a b' \"c d", "d", ["run", "a b"], "c d"),
        ("zsh", "ktpy exchange web -e", "2", ["exchange"], "web"),
        ("zsh", "ktpy exchange ", "2", ["exchange"], ""),
        ("fish", "ktpy exchange w", "w", ["exchange"], "w"),
        ("fish", "ktpy exchange ", "", ["exchange"], ""),
    ],
)
def test_the_words_before_the_cursor(shell: str, line: str, cursor: str, words: list[str], typed: str) -> None:
    found = question(shell, line, cursor)
    assert (found.words, found.typed) == (words, typed)


def test_each_shell_reads_its_own_form() -> None:
    line = "ktpy exchange "
    assert question("bash", line, "").answer("plain", "web", "a, b") == "plain,web"
    assert question("zsh", line, "2").answer("plain", "web", "a\nb") == "plain\nweb\na b"
    assert question("zsh", line, "2").answer("open", "pod/", "") == "open\npod/\n_"
    assert question("fish", line, "").answer("plain", "web", "a, b") == "plain,web\ta, b"


@pytest.mark.parametrize(
    ("typed", "cursor", "value", "rest"),
    [
        ("3001:8", "8", "3001:80", "80"),
        ("3001:", ":", "3001:80", "80"),
        ("--context=", "=", "arn:aws:one", "arn:aws:one"),
        ("--context=arn:a", "a", "arn:aws:one", "aws:one"),
        ("--header=x-user=a", "a", "x-user=alice", "alice"),
        ("x-user=", "=", "x-user=alice", "alice"),
    ],
)
def test_bash_has_the_part_before_a_colon_already(typed: str, cursor: str, value: str, rest: str) -> None:
    assert question("bash", f"ktpy mesh {typed}", cursor).answer("plain", value, "") == f"plain,{rest}"


def test_what_is_no_question_is_refused() -> None:
    for environment in ({}, {"_KTPY_COMPLETE": "zsh_complete", "COMP_WORDS": "ktpy", "COMP_CWORD": "x"}):
        with pytest.raises((LookupError, ValueError)):
            Question.asked(environment)


def test_every_script_names_its_own_shell() -> None:
    assert all(f"_KTPY_COMPLETE={shell}_complete" in script for shell, script in SCRIPTS.items())
    assert SCRIPTS["zsh"].index("compinit") < SCRIPTS["zsh"].index("compdef _ktpy"), "zsh may not have run it yet"
    assert 'string split --max 1 ","' in SCRIPTS["fish"], "help may have commas"
