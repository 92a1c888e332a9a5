"""What `ktpy clean` says; what it finds and removes: test_once.py, test_undo_killed.py and the helper's tests."""

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.cluster.changes.sweep import Leftover
from ktpy.cluster.sharing.lease import Lease
from ktpy.daemon import privileged
from ktpy.daemon.caller import Caller
from ktpy.daemon.records import Record, Records
from ktpy.errors import HelperFailed, KtpyError, KubeconfigMissing
from ktpy.sessions import once

RECORD = Record("5e55", "exchange", "web", "shop", "https://a", "lab", None)
KEPT = Lease("5e57", "al@a", "shop", "web", "ktpy-5e57", "u", "1", None, since="2026-11-28T11:00:00Z", is_kept=True)
DEAD = Leftover("session", "shop", "web/5e56", "of bo, not heard from for 75 s")


@dataclass
class Remains:
    """What killed runs have left."""

    on_laptop: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    of_others: list[Leftover] = field(default_factory=list)
    failures: list[KtpyError] = field(default_factory=list)
    kept: list[Lease] = field(default_factory=list)
    undone: list[Record] = field(default_factory=list)
    """The records whose cluster was cleared up."""
    swept: list[tuple[bool, bool]] = field(default_factory=list)
    """For each time that others' remains were asked for: all namespaces, dry run."""

    def sweep(
        self, _: once.ClusterRef, *, all_namespaces: bool, dry_run: bool
    ) -> tuple[list[Leftover], list[KtpyError], list[Lease]]:
        self.swept.append((all_namespaces, dry_run))
        return self.of_others, self.failures, self.kept

    laptop_failure: KtpyError | None = None

    def undo_laptop(self, _: object) -> bool:
        if self.laptop_failure is not None:
            raise self.laptop_failure
        return bool(self.on_laptop)


@pytest.fixture
def remains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Remains:
    found = Remains()
    monkeypatch.setattr(Caller, "current", lambda: Caller(1000, 1000, "al", tmp_path))
    monkeypatch.setattr(Caller, "drop_privileges", lambda _: None)
    monkeypatch.setattr(
        privileged, "stale_journals", lambda: [SimpleNamespace(pending=found.on_laptop, unreadable=found.unreadable)]
    )
    monkeypatch.setattr(privileged, "undo_stale_journals", found.undo_laptop)
    monkeypatch.setattr(once, "undo_record", lambda record, *_: found.undone.append(record))
    monkeypatch.setattr(once, "sweep_dead", found.sweep)
    return found


def own(tmp_path: Path, *records: Record) -> None:
    """Leave records of sessions that are gone."""
    for record in records:
        with Records.of(Caller(1000, 1000, "al", tmp_path)).hold(record):
            pass


def clean(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["clean", *arguments])


def test_nothing(remains: Remains) -> None:
    assert clean().output == "Nothing to clean.\n"
    assert remains.swept == [(False, False)]


def test_a_dry_run_only_says_it(remains: Remains, tmp_path: Path) -> None:
    remains.on_laptop, remains.of_others = ["TUN device ktpy0"], [DEAD]
    own(tmp_path, RECORD)
    assert clean("--dry-run", "-A").output.splitlines() == [
        "would undo on this laptop: TUN device ktpy0",
        "would be undone. An earlier ktpy was killed: its exchange of web in namespace shop.",
        "would remove session shop/web/5e56: of bo, not heard from for 75 s",
    ]
    assert (remains.undone, remains.swept) == ([], [(True, True)])


def test_a_dry_run_names_what_cannot_be_read(remains: Remains) -> None:
    remains.unreadable = ["1 of the 4 lines of a.json cannot be read"]
    assert clean("--dry-run").output.splitlines() == remains.unreadable


def test_a_record_that_cannot_be_read_is_named(remains: Remains, tmp_path: Path) -> None:
    own(tmp_path, RECORD)
    torn = tmp_path / ".local/state/ktpy/intercepts/aa.json"
    torn.write_text("garbage\n")
    assert f"put aside as {torn.with_suffix('.unreadable')};" in clean().output
    assert remains.undone == [RECORD]
    assert clean().exit_code == 0


def test_what_cannot_be_undone_on_the_laptop_keeps_nothing_else_from_being_cleaned(
    remains: Remains, tmp_path: Path
) -> None:
    own(tmp_path, RECORD)
    remains.laptop_failure = HelperFailed("Not everything could be undone.")
    done = clean()
    assert (done.exit_code, done.stderr) == (35, "error: Not everything could be undone.\n")
    assert (remains.undone, remains.swept) == ([RECORD], [(False, False)])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_what_cannot_be_shown_keeps_nothing_from_being_cleaned(
    remains: Remains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: str) -> None:
        raise OSError(number, os.strerror(number))

    own(tmp_path, RECORD)
    remains.of_others = [DEAD, DEAD]
    (tmp_path / ".local/state/ktpy/intercepts/aa.json").write_text("garbage\n")
    monkeypatch.setattr("ktpy.cli.render.say", refuse)
    assert clean().exit_code == 1
    assert (remains.undone, remains.swept) == ([RECORD], [(False, False)])


def test_each_cluster_of_ones_own_is_cleared_up_once(remains: Remains, tmp_path: Path) -> None:
    elsewhere = Record("5e57", "preview", "pay", "shop", "https://b", "other", None)
    own(tmp_path, RECORD, Record("5e58", "mesh", "db", "shop", "https://a", "lab", None), elsewhere)
    remains.of_others = [DEAD]
    assert clean().output == "removed session shop/web/5e56: of bo, not heard from for 75 s\n"
    assert [record.server for record in remains.undone] == ["https://a", "https://b"]


def test_a_gateway_that_is_kept_is_named_and_left_alone(remains: Remains) -> None:
    remains.kept = [KEPT]
    assert clean().output == (
        "left alone: the gateway of shop/web, which al@a keeps since 2026-11-28T11:00:00Z; "
        "`ktpy gateway release web -n shop` gives the service back\n"
    )
    assert json.loads(clean("-o", "json").stdout)["kept"] == [
        {"namespace": "shop", "name": "web", "owner": "al@a", "since": "2026-11-28T11:00:00Z"}
    ]


def test_what_went_wrong_is_told_after_what_went(remains: Remains) -> None:
    remains.of_others, remains.failures = [DEAD], [KtpyError("Not now.")]
    done = clean()
    assert done.exit_code == KtpyError.exit_code
    assert done.stdout.startswith("removed session")
    assert done.stderr == "error: Not now.\n"


def test_without_a_kubeconfig_only_the_laptop_is_cleaned(remains: Remains, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise KubeconfigMissing("There is no kubeconfig.")

    monkeypatch.setattr(once, "sweep_dead", missing)
    remains.on_laptop = ["TUN device ktpy0"]
    done = clean()
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "No cluster was looked at: There is no kubeconfig.\n"


def test_json_has_each_thing_found(remains: Remains) -> None:
    remains.on_laptop, remains.of_others = ["TUN device ktpy0"], [DEAD]
    told = json.loads(clean("--dry-run", "-o", "json").stdout)
    assert (told["schema"], told["dry_run"]) == (1, True)
    assert [one["where"] for one in told["found"]] == ["laptop", "cluster"]
    assert {key: told["found"][1][key] for key in ("kind", "namespace", "name")} == {
        "kind": "session",
        "namespace": "shop",
        "name": "web/5e56",
    }


def test_json_is_complete_also_where_something_failed(remains: Remains) -> None:
    remains.failures = [KtpyError("No.")]
    done = clean("-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["dry_run"]) == (1, False)
