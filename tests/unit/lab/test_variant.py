import pytest

from tests.lab import binaries
from tests.lab.errors import LabError
from tests.lab.variant import release


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.35.4", "1.35.4"),
        ("v1.34.0", "1.34.0"),
        ("1.31", "1.31.0"),
        (binaries.DEFAULT_RELEASE.rpartition(".")[0], binaries.DEFAULT_RELEASE),
    ],
)
def test_a_series_is_the_release_of_it_that_the_tests_run_on(text: str, version: str) -> None:
    assert release(text) == version


@pytest.mark.parametrize("text", ["1.7", "latest", "1.35.4-rc.1", ""])
def test_what_names_no_release_is_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"1\.7|no version of Kubernetes"):
        release(text)
