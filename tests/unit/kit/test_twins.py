from pathlib import Path

import pytest

from tests.kit.twins import complaints

MODULES = {
    "ktpy/kube/watch.py": "tests/unit/kube/test_watch.py",
    "ktpy/errors.py": "tests/component/test_errors.py",
    "agent-image/ktpy_agent/route.py": "tests/net/agent/test_route.py",
    "tests/lab/certs.py": "tests/unit/lab/test_certs.py",
    "tests/bench/load/idle.py": "tests/unit/bench/load/test_idle.py",
}


def write(path: Path, text: str = "def work() -> None: ...\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository in which every module has its test file."""
    for module, twin in MODULES.items():
        write(tmp_path / module)
        write(tmp_path / twin)
    return tmp_path


def test_mirrored_paths_are_found_in_every_suite(root: Path) -> None:
    assert list(complaints(root, {})) == []


@pytest.mark.parametrize(("module", "twin"), MODULES.items())
def test_a_module_without_its_test_file_needs_a_reason(root: Path, module: str, twin: str) -> None:
    (root / twin).unlink()
    assert list(complaints(root, {})) == [
        f"{module} has no test file at the mirrored path, and pyproject.toml gives no reason."
    ]
    assert list(complaints(root, {module: "it is tested elsewhere"})) == []


def test_a_test_file_of_that_name_elsewhere_is_not_its_own(root: Path) -> None:
    (root / "tests/unit/kube/test_watch.py").rename(root / "tests/unit/test_watch.py")
    [complaint] = complaints(root, {})
    assert complaint.startswith("ktpy/kube/watch.py has no test file")


@pytest.mark.parametrize("module", ["ktpy/kube/watch.py", "ktpy/kube/gone.py"])
def test_a_reason_that_is_not_needed_is_told(root: Path, module: str) -> None:
    [complaint] = complaints(root, {module: "it is tested elsewhere"})
    assert complaint.startswith(f"{module} is listed in [tool.ktpy.twins]")


def test_a_module_that_defines_nothing_needs_no_test_file(root: Path) -> None:
    write(root / "ktpy/kube/__init__.py", '"""The API server."""\n\nLIMIT = 500\n')
    assert list(complaints(root, {})) == []
