"""Each claim of docs/security.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tests_that_claims_name_exist() -> None:
    rows = re.findall(r"^\| (?!claim |---).*\| (.*) \|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for row in rows:
        path = ""
        for named, test in re.findall(r"`([^:`]*)::(\w+)`", row):
            path = named or path
            assert f"def {test}(" in (ROOT / path).read_text()
        assert path, "a claim without a test"
