"""The command line, as far as it needs no lab."""

from pathlib import Path

import pytest

from tests.chaos import results
from tests.chaos.cli import main
from tests.kit.inline_commands import given_to
from tests.unit.chaos.test_results import RESULT


def test_the_cells_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--cells", "dev/*/kubelet"]) == 0
    assert capsys.readouterr().out.split() == ["dev/starting/kubelet", "dev/ready/kubelet", "dev/ending/kubelet"]


def test_the_cells_that_the_documents_name_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    for told in given_to("chaos"):
        assert main([*told, "--list"]) == 0
        assert capsys.readouterr().out


def test_an_unknown_cell_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--cells", "dev/never/*"])
    assert ended.value.code == 2
    assert "'dev/never/*'" in capsys.readouterr().err


def test_what_has_a_result_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chaos.json"
    results.add(path, RESULT)
    assert main(["--cells", RESULT.cell, "--results", str(path)]) == 0
    assert "| killed; cluster: Job, Pod, gone by itself after 71 s" in capsys.readouterr().out.replace(
        "| *not run* ", ""
    )
