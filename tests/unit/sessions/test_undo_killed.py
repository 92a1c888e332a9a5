"""What records of killed sessions lead to; tests/unit/daemon/test_records.py has the records themselves."""

from pathlib import Path

import pytest

from ktpy.daemon.records import Record, Records
from ktpy.errors import KtpyError
from ktpy.kube.client import Api
from ktpy.observe.events import Event, Notice
from ktpy.sessions import undo_killed as module
from ktpy.sessions.undo_killed import undo_killed
from tests.unit.cluster.gateway_cases import essence, furnish, gateway, is_clean, preview
from tests.unit.kube.object_store import SERVICES, ObjectStore


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "intercepts")


def killed(records: Records, api: Api, kind: str, target: str, session: str, server: str | None = None) -> None:
    """Leave the record of a session whose process is gone."""
    with records.hold(Record(session, kind, target, "shop", server or api.target.server, "lab", None)):
        pass


async def undone(api: Api, records: Records) -> list[str]:
    """What the user is told."""
    told: list[Event] = []
    await undo_killed(api, records, told.append)
    return [event.text for event in told if isinstance(event, Notice)]


def left(records: Records) -> list[Record]:
    with records.stale() as stale:
        return list(stale)


@pytest.mark.parametrize("kind", ["exchange", "mesh"])
async def test_an_intercept_is_undone_at_once(store: ObjectStore, store_api: Api, records: Records, kind: str) -> None:
    before = furnish(store)
    await gateway(store_api, "a").enter()
    killed(records, store_api, kind, "web", "a")
    assert await undone(store_api, records) == [
        f"An earlier ktpy was killed: its {kind} of web in namespace shop is undone."
    ]
    assert essence(store) == before
    assert is_clean(store)
    assert left(records) == []


async def test_a_preview_is_undone_and_that_of_another_stays(
    store: ObjectStore, store_api: Api, records: Records
) -> None:
    await preview(store_api, "a").enter()
    await preview(store_api, "b", name="other").enter()
    killed(records, store_api, "preview", "pay", "a")
    await undone(store_api, records)
    assert store.names(SERVICES) == ["other"]


async def test_records_of_another_cluster_are_kept(store: ObjectStore, store_api: Api, records: Records) -> None:
    killed(records, store_api, "exchange", "web", "a", server="https://elsewhere")
    assert await undone(store_api, records) == []
    assert [record.session for record in left(records)] == ["a"]


async def test_what_fails_is_told_and_kept(
    store: ObjectStore, store_api: Api, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise KtpyError("Not now.")

    monkeypatch.setattr(module, "run_steps", fail)
    killed(records, store_api, "exchange", "web", "a")
    [text] = await undone(store_api, records)
    assert text.endswith("its exchange of web in namespace shop could not be undone yet: Not now.")
    assert [record.session for record in left(records)] == ["a"]


async def test_a_record_that_cannot_be_read_is_told_and_hides_no_other(
    store: ObjectStore, store_api: Api, records: Records, tmp_path: Path
) -> None:
    killed(records, store_api, "exchange", "web", "b")
    (tmp_path / "intercepts/a.json").write_text("garbage\n")
    torn, other = await undone(store_api, records)
    assert str(tmp_path / "intercepts/a.unreadable") in torn
    assert other.endswith("its exchange of web in namespace shop is undone.")
    assert left(records) == []
