"""Finds modules without a test file at the mirrored path: `python -m tests.kit.twins`, run by scripts/check.

The twin of ktpy/kube/watch.py is tests/unit/kube/test_watch.py, or test_watch.py in kube/ of tests/component or
tests/net. pyproject.toml lists in [tool.ktpy.twins] which modules have none, and why.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

SOURCES = {
    "ktpy": "",
    "agent-image/ktpy_agent": "agent",
    "tests/lab": "lab",
    "tests/bench": "bench",
    "tests/chaos": "chaos",
    "tests/soak": "soak",
}
"""Where modules are, and the folder of their tests below each suite."""
SUITES = ("tests/unit", "tests/component", "tests/net", "tests/e2e")


def modules(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each module that defines something, with the path of its twin below a suite."""
    for source, folder in SOURCES.items():
        for path in sorted((root / source).rglob("*.py")):
            if _defines_something(path):
                inner = path.relative_to(root / source)
                yield path.relative_to(root).as_posix(), (Path(folder) / inner.parent / f"test_{inner.name}").as_posix()


def _defines_something(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)


def complaints(root: Path, reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each module that lacks a twin without a reason, and for each reason that is not needed."""
    lacking = {module for module, twin in modules(root) if not any((root / suite / twin).exists() for suite in SUITES)}
    for module in sorted(lacking - set(reasons)):
        yield f"{module} has no test file at the mirrored path, and pyproject.toml gives no reason."
    for module in sorted(set(reasons) - lacking):
        yield f"{module} is listed in [tool.ktpy.twins] of pyproject.toml, but it is gone, or has its test file."


def main() -> int:
    """Print the complaints about the repository in the current directory; the exit code is 1 when there are any."""
    root = Path.cwd()
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    found = list(complaints(root, settings["tool"]["ktpy"]["twins"]))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
