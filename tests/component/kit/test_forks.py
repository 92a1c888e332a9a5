"""pytest's own tester runs small suites in two processes."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def finds_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    plugins = ("-p", "tests.kit.forks", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    return pytester.runpytest_subprocess(*plugins, "--forks", "2", *arguments)


def test_every_outcome_comes_out_as_without_it(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import os, warnings
        import pytest

        @pytest.fixture(scope="session")
        def shared():
            yield os.getpid()
            print("the end of", os.getpid())

        @pytest.mark.parametrize("number", range(40))
        def test_passes(number, shared):
            assert os.getpid() == shared != os.getppid()

        def test_fails():
            print("was printed")
            number = 4
            assert number == 5

        def test_is_skipped():
            pytest.skip("for a reason")

        @pytest.mark.xfail
        def test_is_expected_to_fail():
            assert False

        def test_warns():
            warnings.warn("beware")

        @pytest.fixture
        def broken():
            yield
            raise OSError("not undone")

        def test_ends_badly(broken):
            pass
        """,
        "--junit-xml=junit.xml",
    )
    result.assert_outcomes(passed=42, failed=1, skipped=1, xfailed=1, errors=1, warnings=1)
    result.stdout.fnmatch_lines(["*OSError: not undone", "*assert 4 == 5", "was printed", "*UserWarning: beware"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(list(ElementTree.parse(pytester.path / "junit.xml").iter("testcase"))) == 45


def test_a_process_that_ends_fails_its_test_and_the_other_goes_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="import pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_one(n): pass")
    result = run(
        pytester,
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(40))
        def test_any(number):
            if number == 7:
                os._exit(3)
        """,
    )
    result.stdout.fnmatch_lines(["*test_any?7?*", "The process ended in this test: exit code 3."])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    assert outcomes["passed"] >= 30


def test_where_no_process_is_left_the_rest_is_missed(pytester: pytest.Pytester) -> None:
    source = """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(10))
        def test_any(number):
            os._exit(0)
        """
    pytester.makepyfile(test_second=source, test_third=source, test_fourth=source)
    result = run(pytester, source)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*20 tests or files have not been run*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_it_stops_at_the_first_failure_when_told_so(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest

        @pytest.mark.parametrize("number", range(400))
        def test_any(number):
            assert number
            import time; time.sleep(0.1)
        """,
        "-x",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("def test_one(): pass", pytest.ExitCode.OK),
        ("def no_test(): pass", pytest.ExitCode.NO_TESTS_COLLECTED),
        ("import not_there", pytest.ExitCode.TESTS_FAILED),
    ],
)
def test_exit_codes(pytester: pytest.Pytester, source: str, code: pytest.ExitCode) -> None:
    assert run(pytester, source).ret == code
