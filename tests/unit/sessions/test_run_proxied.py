"""`ktpy run --mode proxy`: the environment and the files of a pod, without namespaces."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.capture.namespace.pod_files import PodFiles
from ktpy.capture.spec import CaptureSpec
from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.daemon import supervision
from ktpy.errors import ProgramAbsent
from ktpy.observe.events import Ended, Notice
from ktpy.observe.status import ProxyStatus
from ktpy.serve import command
from ktpy.sessions import dressed, run_proxied
from ktpy.sessions.options import ConnectOptions, EnvironmentEdits, RunOptions, WorkloadChoice
from ktpy.sessions.run_proxied import ProxiedRun
from ktpy.sessions.surroundings import PodSurroundings
from tests.unit.sessions.connect_world import HELPER, World, world

__all__ = ["world"]

MOUNTS = [PodMount("/var/cache", VolumeKind.SCRATCH), PodMount("/data", VolumeKind.OTHER)]
PROXY = {"ALL_PROXY": "socks5h://127.0.0.1:1080"}


def has_cache(root: str) -> bool:
    return Path(root, "var/cache").is_dir()


@pytest.fixture
def environments(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """Those of the programs, which look for a file and end with 7. Pods have variable COLOUR and two mounts."""
    found: list[Mapping[str, str]] = []

    async def program(_words: Sequence[str], environment: Mapping[str, str], base: Mapping[str, str]) -> int:
        if root := environment.get("KTPY_ROOT"):
            assert has_cache(root)
        found.append({**base, **environment})
        return 7

    async def wardrobe(*_: object, **__: object) -> Any:
        return SimpleNamespace(overlay=dict, completed=lambda told: told, clothes=SimpleNamespace(mounts=MOUNTS))

    async def surroundings(*_: object) -> PodSurroundings:
        return PodSurroundings({"COLOUR": "red", "ALL_PROXY": "pod", "LD_X": ""}, frozenset(), "shadow-0", "10.0.0.1")

    @asynccontextmanager
    async def files(_uplink: object, mounts: Any, root: Path, _report: object) -> AsyncIterator[PodFiles]:
        yield PodFiles(root, mounts)

    world.proxy = ProxyStatus(1080, "", PROXY)
    for name, fake in {"open_wardrobe": wardrobe, "fetch_surroundings": surroundings}.items():
        monkeypatch.setattr(dressed, name, fake)
    monkeypatch.setattr(run_proxied, "kept_files", files)
    monkeypatch.setattr(command, "run", program)
    monkeypatch.setenv("MINE", "1")
    return found


async def end(world: World, of_run: RunOptions) -> Ended:
    options = ConnectOptions(capture=CaptureSpec("proxy"), command=("sh",))
    return await supervision._supervise(ProxiedRun(options, of_run, HELPER, world.caller, world.report))


async def test_environment_and_files(world: World, environments: list[Mapping[str, str]]) -> None:
    edits = EnvironmentEdits({"MORE": "1"}, frozenset({"MINE"}))
    ended = await end(world, RunOptions(workload=WorkloadChoice("web"), edits=edits))
    assert ended == Ended(7, "sh ended with 7; everything is undone.")
    [told] = environments
    assert {"COLOUR": "red", "MORE": "1", "HOSTNAME": "shadow-0", **PROXY}.items() <= told.items()
    assert "MINE" not in told
    assert told["KTPY_ROOT"] == told["TELEPRESENCE_ROOT"]
    assert told["TELEPRESENCE_MOUNTS"] == "/var/cache"
    assert not has_cache(told["KTPY_ROOT"])
    notices = [event.text for event in world.events if isinstance(event, Notice)]
    assert [text.partition(" ")[0] for text in notices] == ["LD_X:", "The", "/data"]


async def test_without_a_workload(world: World, environments: list[Mapping[str, str]]) -> None:
    assert (await end(world, RunOptions(edits=EnvironmentEdits({"MORE": "1"})))).exit_code == 7
    assert {"MINE": "1", "MORE": "1", **PROXY}.items() <= environments[0].items()
    assert "KTPY_ROOT" not in environments[0]


def test_what_cannot_be_run() -> None:
    options = ConnectOptions(command=("no-such-program",))
    with pytest.raises(ProgramAbsent):
        run_proxied.run(options, RunOptions(), HELPER, HELPER, print)
