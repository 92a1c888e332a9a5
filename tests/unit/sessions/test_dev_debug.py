from pathlib import Path
from typing import Any

import pytest

from ktpy.capture.spec import listen_on_loopback
from ktpy.daemon.caller import Caller
from ktpy.errors import LocalPortTaken, UsageError
from ktpy.observe.events import Event
from ktpy.sessions import dev_debug, dev_visit
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import DevOptions, Exec, Publish

CALLER = Caller(1000, 1000, "al", Path("/"))


def untold(event: Event) -> None:
    raise AssertionError(event)


def test_its_port_is_one_of_the_laptops_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run(*values: Any) -> int:
        *_, listeners, notes = values
        seen.append((values[1:3], [port for port, _ in listeners], listeners[0][1].getsockname()[1], notes))
        return 4

    monkeypatch.setattr(dev_visit, "run", run)
    options = DevOptions("web", command=("python", "-m", "debugpy"), work_dir="/src")
    assert dev_debug.run(ClusterRef(), options, Publish(0, 5678), CALLER, untold) == 4
    [(asked, ports, local, notes)] = seen
    assert asked == ("web", Exec(("python", "-m", "debugpy"), folder="/src"))
    assert ports == [5678]
    assert f'"port": {local}' in notes[0]
    listen_on_loopback(local).close()


@pytest.mark.parametrize("options", [DevOptions("web"), DevOptions("web", command=("dlv",))])
def test_what_lacks(monkeypatch: pytest.MonkeyPatch, options: DevOptions) -> None:
    monkeypatch.setattr(dev_debug, "texts", lambda _: [])
    with pytest.raises(UsageError, match=r"^Say "):
        dev_debug.run(ClusterRef(), options, None, CALLER, untold)


def test_a_port_that_is_taken() -> None:
    with listen_on_loopback(0) as taken:
        port = Publish(taken.getsockname()[1], 5678)
        with pytest.raises(LocalPortTaken) as refused:
            dev_debug.run(ClusterRef(), DevOptions("web", command=("dlv",)), port, CALLER, untold)
    assert refused.value.hint == "Choose another one of this laptop: --port LOCAL:5678"
