"""A session's block, with a process that is none."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from ktpy.api import session as module
from ktpy.api.session import Session, SessionProcess
from ktpy.errors import KtpyError, LinkLost, RestoreIncomplete, RouteTaken, SessionEnded
from ktpy.observe.events import Ended
from ktpy.observe.status import ConnectStatus, SessionStatus

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=1.0)
LEFT = Ended(0, "Left.")


class Process(SessionProcess):
    """It ends when it is asked to, as `last` says; a session that stands says `status`."""

    def __init__(self, status: SessionStatus | None, last: Ended = LEFT) -> None:
        self.stands, self.ended = Future(), Future()
        self.popen = SimpleNamespace(pid=7)  # type: ignore[assignment]
        self._is_asked, self._last = False, last
        if status is None:
            self.ended.set_result(last)
        self.stands.set_result(status)

    def end(self) -> None:
        self._is_asked = not self.ended.done()
        if self._is_asked:
            self.ended.set_result(self._last)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """The processes that sessions begin, in their order."""
    processes: list[Process] = []
    coming = iter(processes)
    monkeypatch.setattr(module, "SessionProcess", lambda *_: next(coming))
    return processes


def session() -> "Session[ConnectStatus]":
    return Session("connect")


async def test_its_end_is_asked_for_once_and_waited_for(begun: list[Process]) -> None:
    begun += [Process(STATUS), Process(STATUS)]
    one = session()
    with pytest.raises(RuntimeError, match="stands only within"):
        _ = one.status
    async with one:
        assert one.status is STATUS
        with pytest.raises(RuntimeError, match="has begun already"):
            one.__enter__()
        assert not begun[0].ended.done()
    assert begun[0].ended.result() == LEFT
    with one:  # once more, without the loop
        assert not begun[1].ended.done()
    assert begun[1].ended.result() == LEFT


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (Ended(54, "Somebody has it.", "That is you.", is_error=True), RouteTaken),
        (Ended(130, "Interrupted; nothing was changed."), SessionEnded),
        (Ended(1, "Unexpected.", is_error=True), KtpyError),
    ],
)
async def test_one_that_never_stands_raises_why(begun: list[Process], last: Ended, kind: type[KtpyError]) -> None:
    begun += [Process(None, last), Process(None, last)]
    with pytest.raises(KtpyError) as raised:
        await session().__aenter__()
    assert (type(raised.value), raised.value.message, raised.value.hint) == (kind, last.message, last.hint)
    with pytest.raises(kind):
        session().__enter__()


@pytest.mark.parametrize(
    ("last", "kind"), [(LEFT, SessionEnded), (Ended(40, "The link was lost.", is_error=True), LinkLost)]
)
async def test_one_that_ends_early_cancels_its_block(begun: list[Process], last: Ended, kind: type[KtpyError]) -> None:
    begun.append(Process(STATUS))

    async def block() -> None:
        async with session():
            begun[0].ended.set_result(last)
            await asyncio.Event().wait()

    with pytest.raises(kind, match=last.message):
        await block()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # nothing of it is left


async def test_a_block_that_awaits_nothing_hears_so_at_its_end(begun: list[Process]) -> None:
    begun += [Process(STATUS), Process(STATUS)]
    with pytest.raises(SessionEnded):
        async with session():
            begun[0].ended.set_result(LEFT)
    with pytest.raises(SessionEnded), session():
        begun[1].ended.set_result(LEFT)


async def test_a_cancellation_by_others_stays_one(begun: list[Process]) -> None:
    begun += [Process(STATUS), Process(STATUS)]
    for process in list(begun):
        inside = asyncio.Event()

        async def block() -> None:
            async with session():
                inside.set()  # noqa: B023 - awaited below
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await inside.wait()
        if process is begun[1]:  # at the same time as the session ends
            process.ended.set_result(LEFT)
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert process.ended.done()


async def test_what_could_not_be_undone_is_raised_or_noted(begun: list[Process]) -> None:
    begun += [Process(STATUS, Ended(59, "It was not given back.", is_error=True)) for _ in range(3)]
    with pytest.raises(RestoreIncomplete):
        async with session():
            pass
    with pytest.raises(ValueError, match="mine") as raised:
        async with session():
            raise ValueError("mine")
    assert raised.value.__notes__ == ["ktpy: It was not given back."]
    with pytest.raises(RestoreIncomplete), session():
        pass


async def test_one_of_the_users_own_that_stands_already_is_left_as_it_is(begun: list[Process]) -> None:
    other = Process(STATUS)
    other.popen = SimpleNamespace(pid=8)  # type: ignore[assignment]
    begun.append(other)
    other.ended.set_result(Ended(0, "Already connected."))
    async with session() as one:
        await asyncio.sleep(0)
        assert one.status is STATUS
