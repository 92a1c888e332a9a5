"""syncthing, where it is installed: two instances on loopback, which know nobody else and announce nothing."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

from tests.bench.sync.files import make_files
from tests.kit.ports import free_port
from tests.lab.errors import LabError

POLL_S = 0.1
_OPTIONS = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "startBrowser": "false",
    "urAccepted": "-1",
    "autoUpgradeIntervalH": "0",
    "crashReportingEnabled": "false",
}


def initial_s(root: Path, count: int, timeout_s: float) -> float:
    """Return after how many seconds so many files are on the other side. Raises LabError without syncthing."""
    if not shutil.which("syncthing"):
        raise LabError("syncthing is not installed")
    ports = [free_port(), free_port()]
    names = [_generate(root / side) for side in ("one", "other")]
    make_files(root / "one" / "files", count)
    (root / "other" / "files").mkdir()
    for side, own, theirs in (("one", 0, 1), ("other", 1, 0)):
        _configure(root / side, names, ports[own], names[theirs], ports[theirs])
    began_s = time.monotonic()
    processes = [_serve(root / side) for side in ("one", "other")]
    try:
        while sum(1 for _ in (root / "other" / "files").glob("folder*/file*")) < count:
            if time.monotonic() - began_s > timeout_s:
                raise LabError(f"syncthing has not done it within {timeout_s:g} s")
            time.sleep(POLL_S)
        return time.monotonic() - began_s
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _generate(home: Path) -> str:
    """Make the configuration; return the device's name."""
    home.mkdir(parents=True)
    command = ["syncthing", "generate", f"--home={home}/home", "--no-default-folder"]
    subprocess.run(command, check=True, capture_output=True, env=_environment(home))
    device = ElementTree.parse(home / "home" / "config.xml").find("device")
    assert device is not None
    return device.attrib["id"]


def _configure(home: Path, names: list[str], port: int, other: str, other_port: int) -> None:
    file = home / "home" / "config.xml"
    config = ElementTree.parse(file)
    root = config.getroot()
    gui, options = root.find("gui"), root.find("options")
    assert gui is not None
    assert options is not None
    gui.set("enabled", "false")
    for one in options.findall("listenAddress"):
        options.remove(one)
    for name, value in {**_OPTIONS, "listenAddress": f"tcp://127.0.0.1:{port}"}.items():
        for one in options.findall(name):
            options.remove(one)
        ElementTree.SubElement(options, name).text = value
    device = ElementTree.SubElement(root, "device", id=other, name="other")
    ElementTree.SubElement(device, "address").text = f"tcp://127.0.0.1:{other_port}"
    folder = ElementTree.SubElement(root, "folder", id="files", path=str(home / "files"), type="sendreceive")
    for name in names:
        ElementTree.SubElement(folder, "device", id=name)
    config.write(file)


def _serve(home: Path) -> "subprocess.Popen[bytes]":
    command = ["syncthing", "serve", f"--home={home}/home", "--no-browser", "--no-restart", "--no-upgrade"]
    return subprocess.Popen(command, env=_environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "STNODEFAULTFOLDER": "1"}
