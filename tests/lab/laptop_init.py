"""Makes a laptop: its mount and host-name namespaces, its private directories, its users; then holds them open.

What is private: /etc (an overlay), /run, /home, root's home, /var/lib, /sys, /dev/net. All else is the machine's.

usage: python -m tests.lab.laptop_init NAME NUMBER
"""

import os
import pwd
import re
import secrets
import shutil
import stat
import sys
from pathlib import Path

from tests.lab import binaries, cgroup, namespaces, resolver_modes, veils
from tests.lab.laptop import LAB_BIN, READY, record_file, search_path
from tests.lab.layout import FIRST_LAPTOP, LAPTOP_USER, REPOSITORY, Layout
from tests.lab.namespaces import mount
from tests.lab.processes import ProcessRecord

FIRST_USER_ID = 1000
HOMES = Path("/home")


def main(name: str, number: str) -> None:
    layout = Layout(name, int(number))
    cgroup.ControlGroups.read(layout.cgroups_file).join("laptop")
    pause = binaries.pause() / "pause"
    namespaces.setns(layout.laptop_netns_path)
    namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWUTS)
    namespaces.make_mounts_private()
    namespaces.set_hostname(layout.laptop_name)
    _mount_file_systems(layout, needed=[pause.parent, layout.bin_dir.resolve() / "kubectl"])
    _edit_etc(layout)
    _make_homes(layout)
    if layout.laptop == FIRST_LAPTOP:
        resolver_modes.switch(layout, "file")
    else:
        resolver_modes.know_none()
    ProcessRecord.of(os.getpid()).write(record_file(layout))
    print(READY, flush=True)
    os.dup2(2, 1)
    os.chdir("/")
    os.execv(pause, [f"ktpy-lab-{layout.laptop_name}"])


def _mount_file_systems(layout: Layout, needed: list[Path]) -> None:
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    _make_devices()
    upper, work, shelf = (Path("/run/lab") / name for name in ("etc", "etc-work", "shelf"))
    for directory in (upper, work, shelf, LAB_BIN, Path("/run/lock"), Path("/run/user")):
        directory.mkdir(parents=True)
    mount("-t", "overlay", "-o", f"lowerdir=/etc,upperdir={upper},workdir={work}", "overlay", "/etc")
    root_home = Path(pwd.getpwuid(0).pw_dir)
    python = [Path(sys.prefix), Path(sys.base_prefix).resolve()]
    kept = [layout.state_dir, REPOSITORY, *python, *(path.resolve().parent for path in needed)]
    for directory, paths in veils.plan(kept, always=(HOMES, root_home, Path("/var/lib"))).items():
        veils.draw(directory, paths, shelf)


def _make_devices() -> None:
    """Let every user open the TUN and FUSE devices, as udev does (its rule 50-udev-default)."""
    device = Path("/dev/net/tun")
    number = device.stat().st_rdev
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", device.parent)
    os.mknod(device, stat.S_IFCHR, number)
    device.chmod(0o666)
    if (fuse := Path("/dev/fuse")).exists():
        made = device.with_name("a-fuse")
        os.mknod(made, stat.S_IFCHR, fuse.stat().st_rdev)
        made.chmod(0o666)
        mount("--bind", str(made), str(fuse))


def _edit_etc(layout: Layout) -> None:
    etc = Path("/etc")
    taken = {int(line.split(":")[2]) for name in ("passwd", "group") for line in _lines(etc / name)}
    number = next(number for number in range(FIRST_USER_ID, FIRST_USER_ID + 1000) if number not in taken)
    home = HOMES / LAPTOP_USER
    _append(etc / "passwd", f"{LAPTOP_USER}:x:{number}:{number}:a developer:{home}:/bin/bash")
    _append(etc / "group", f"{LAPTOP_USER}:x:{number}:")
    _append(etc / "shadow", f"{LAPTOP_USER}:*:19000:0:99999:7:::")
    sudoers = etc / "sudoers.d" / "ktpy-lab"
    sudoers.write_text(
        f'Defaults secure_path="{search_path(layout)}"\nDefaults !lecture\n{LAPTOP_USER} ALL=(ALL:ALL) NOPASSWD: ALL\n'
    )
    sudoers.chmod(0o440)
    hostname = layout.laptop_name
    (etc / "hostname").write_text(f"{hostname}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost\n")
    (etc / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
    nsswitch = etc / "nsswitch.conf"
    text = nsswitch.read_text() if nsswitch.exists() else ""
    nsswitch.write_text(re.sub(r"^hosts:.*\n?", "", text, flags=re.MULTILINE) + "hosts: files dns\n")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _append(path: Path, line: str) -> None:
    text = path.read_text()
    if text and not text.endswith("\n"):
        text += "\n"
    path.write_text(f"{text}{line}\n")


def _make_homes(layout: Layout) -> None:
    for user in ("root", LAPTOP_USER):
        entry = pwd.getpwnam(user)
        home = Path(entry.pw_dir)
        if user == LAPTOP_USER:
            private = layout.homes_dir / user
            private.mkdir(parents=True)
            home.mkdir()
            mount("--bind", private, home)
            home.chmod(0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        kubeconfig = home / ".kube" / "config"
        kubeconfig.parent.mkdir(mode=0o700)
        shutil.copyfile(layout.admin_kubeconfig, kubeconfig)
        kubeconfig.chmod(0o600)
        for path in (kubeconfig.parent, kubeconfig):
            os.chown(path, entry.pw_uid, entry.pw_gid)


if __name__ == "__main__":
    main(*sys.argv[1:])
