"""A machine of its own for each test of the helper: private network and mounts, a private /etc and /var/lib.

Nothing here touches the machine's own routes, resolver or journal.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ktpy.helper.launch import LaunchedHelper, launch
from tests.lab import resolved

SET_UP = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
for folder in etc var/lib; do
    mkdir -p /run/upper/$folder /run/work/$folder
    mount -t overlay overlay -o lowerdir=/$folder,upperdir=/run/upper/$folder,workdir=/run/work/$folder /$folder
done
rm -rf /var/lib/ktpy /etc/resolv.conf
echo dev:x:4711:4711::/:/bin/sh >> /etc/passwd
echo 'dev:*:19000:0:99999:7:::' >> /etc/shadow
ip link set lo up
ip link add lan0 type veth peer name far0
ip link set lan0 addrgenmode none
ip link set far0 addrgenmode none
ip addr add 192.168.77.2/24 dev lan0
ip addr add fd77::2/64 dev lan0 nodad
ip link set far0 up
ip link set lan0 up
until ip link show up | grep -c 'state UP' | grep -q 2; do sleep 0.01; done
echo ready
exec sleep infinity
"""

# systemd-resolved with a bus of its own. Its user and the bus policy exist on this machine alone.
RESOLVED_SET_UP = """
set -e
mount -t sysfs sysfs /sys
echo systemd-resolve:x:4712:4712::/:/usr/sbin/nologin >> /etc/passwd
echo systemd-resolve:x:4712: >> /etc/group
mkdir -p /run/dbus /run/systemd/resolve /run/policy
chown 4712:4712 /run/systemd/resolve
cp -a /usr/share/dbus-1/system.d/. $RESOLVED/usr/share/dbus-1/system.d/. /run/policy/
mount --bind /run/policy /usr/share/dbus-1/system.d
mount -t overlay overlay -o lowerdir=$RESOLVED/usr/bin:/usr/sbin /usr/sbin
dbus-daemon --system --fork --nopidfile
capabilities=+net_bind_service,+net_raw,+setpcap
setpriv --reuid 4712 --regid 4712 --clear-groups --ambient-caps $capabilities --inh-caps $capabilities \
    $DAEMON > /run/resolved.log 2>&1 &
for _ in $(seq 1200); do
    [ -e /run/systemd/resolve/stub-resolv.conf ] && resolvectl dns > /run/probe 2>&1 && exit 0
    sleep 0.05
done
exit 1
"""

# Gives its command a terminal of its own, without touching standard input, and closes it when the command ends.
# When the command asks for something there, the first argument is typed.
ON_TERMINAL = """
import fcntl, os, select, sys, termios
controller, terminal = os.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    os.execvp(sys.argv[2], sys.argv[2:])
events = select.poll()
events.register(os.pidfd_open(child), select.POLLIN)
events.register(controller, select.POLLIN)
while controller in dict(events.poll()):
    if b"password" in os.read(controller, 4096):
        os.write(controller, sys.argv[1].encode() + b"\\n")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

ORIGINAL = b"# as the network left it\nnameserver 192.168.77.2\nsearch corp.example\noptions timeout:1 rotate\n"


class Machine:
    """Namespaces that live as long as their first process. Helpers are outside its process namespace: a test kills them
    by a process id that it can see."""

    def __init__(self, pid: int) -> None:
        self.root = Path(f"/proc/{pid}/root")
        """The machine's files, seen from here. Mind absolute links: they would lead into our own root."""
        self.journal_dir = self.root / "var/lib/ktpy/journal"
        self._namespaces = ("nsenter", f"--mount=/proc/{pid}/ns/mnt", f"--net=/proc/{pid}/ns/net")
        self._process_namespace = f"--pid=/proc/{pid}/ns/pid_for_children"
        self.prefix = (*self._namespaces, "--")

    def launch(self, *more_prefix: str) -> LaunchedHelper:
        return launch([*self.prefix, *more_prefix])

    def launch_by_sudo(self, *sudo_options: str, password: str = "") -> LaunchedHelper:
        """As the user `dev`, with a terminal, which closes as soon as sudo has ended."""
        as_dev = ("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups")
        return self.launch(sys.executable, "-c", ON_TERMINAL, password, *as_dev, "sudo", *sudo_options, "--")

    def run(self, *command: str, check: bool = True) -> str:
        """Standard output and error of a command on the machine."""
        done = subprocess.run(
            [*self.prefix, *command],
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def shell(self, script: str) -> str:
        return self.run("sh", "-ec", script)

    def links(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.run("ip", "-j", "link"))}

    def routes(self, link: str) -> set[str]:
        """Destinations that lead into the link, both families; without what its own addresses bring."""
        found: list[dict[str, Any]] = []
        for family in ("-4", "-6"):
            found += json.loads(self.run("ip", "-j", family, "route", "show", "dev", link) or "[]")
        return {route["dst"] for route in found if route.get("protocol") != "kernel"}

    @property
    def resolv_conf(self) -> bytes:
        """What a program on the machine reads."""
        return self.run("cat", "/etc/resolv.conf").encode()

    def set_resolv_conf(self, form: str, content: bytes = ORIGINAL) -> None:
        """Make /etc/resolv.conf a `file`, `symlink`, `bind-mount`, or leave it `absent`."""
        if form == "absent":
            return
        places = {"file": "resolv.conf", "symlink": "generated.conf", "bind-mount": "bound.conf"}
        (self.root / "etc" / places[form]).write_bytes(content)
        if form == "symlink":
            self.shell("ln -s generated.conf /etc/resolv.conf")
        elif form == "bind-mount":
            self.shell("touch /etc/resolv.conf; mount --bind /etc/bound.conf /etc/resolv.conf")
        self.shell("touch -hd '2020-02-02 02:02:02.020202020' /etc/resolv.conf")

    def start_resolved(self, package: Path) -> None:
        """Its daemons live in the machine's own process namespace, and so end with it."""
        daemons = (*self._namespaces, self._process_namespace, "--", "sh", "-ec", RESOLVED_SET_UP)
        variables = {**os.environ, "RESOLVED": str(package), "DAEMON": str(resolved.daemon(package))}
        subprocess.run(daemons, env=variables, stdin=subprocess.DEVNULL, check=True)
        self.shell("ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")

    def state(self) -> dict[str, str]:
        """All that must be as before when the helper has undone its work."""
        return {
            "links": self.run("ip", "-o", "link"),
            "addresses": self.run("ip", "-o", "addr"),
            "routes": self.run("ip", "route", "show", "table", "all"),
            "IPv6 routes": self.run("ip", "-6", "route", "show", "table", "all"),
            "/etc": self.shell("cd /etc; stat -c '%n %N %s %a %u %g %y' $(ls -A)"),
            "/etc/resolv.conf": self.run("cat", "/etc/resolv.conf", check=False),
        }


@contextmanager
def machine() -> Iterator[Machine]:
    process = subprocess.Popen(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation=private", "sh", "-c", SET_UP],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Machine(process.pid)
    finally:
        process.kill()
        process.communicate()


def is_running(pid: int) -> bool:
    """A zombie does not run: nobody may have reaped it yet."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
