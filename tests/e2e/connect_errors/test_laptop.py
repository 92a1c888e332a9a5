"""What the laptop refuses: routes, TUN device, privileges, resolver."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.connect_errors.failing import NAMESPACE, failing
from tests.e2e.kit.failed_command import Kubeconfigs
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.layout import API_PORT, NODE_IPV4
from tests.lab.sessions.connect import connecting


class TestLaptop:
    @pytest.fixture
    def local_network(self, lab: Lab) -> Iterator[str]:
        """A network of the laptop's own inside the cluster's service range."""
        link = "home0"
        lab.exec(["ip", "link", "add", link, "type", "veth", "peer", "name", "home1"], check=True)
        try:
            lab.exec(["ip", "address", "add", "10.96.5.1/24", "dev", link], check=True)
            lab.exec(["ip", "link", "set", link, "up"], check=True)
            yield link
        finally:
            lab.exec(["ip", "link", "delete", link], check=True)

    def test_a_range_overlaps(self, lab: Lab, local_network: str) -> None:
        failed = failing(lab)
        assert failed.exit_code == 30
        assert f"10.96.5.0/24 on {local_network}" in failed.message
        assert "--exclude 10.96.5.0/24" in failed.hint
        assert "--include 10.96.5.0/24" in failed.hint

    def test_an_overlap_that_is_excluded(self, lab: Lab, laptop: Laptop, local_network: str) -> None:
        with connecting(lab, "--namespace", NAMESPACE, "--exclude", "10.96.5.0/24") as session:
            assert local_network in laptop.output("ip", "route", "get", "10.96.5.7")
            assert "dev ktpy" in laptop.output("ip", "route", "get", "10.96.6.7")
            session.quit()

    def test_a_second_connect(self, lab: Lab) -> None:
        with connecting(lab, "--namespace", NAMESPACE) as first:
            failed = failing(lab, "--namespace", "default")
            assert failed.exit_code == 31
            assert f"https://{NODE_IPV4}:{API_PORT}" in failed.message
            assert "ktpy quit" in failed.hint
            assert first.status()["state"] == "connected"
            first.quit()

    def test_no_tun_device(self, lab: Lab) -> None:
        without = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec ktpy connect "$@"', "sh"]
        failed = failing(lab, command=without, user="root")
        assert failed.exit_code == 32
        assert "no TUN device" in failed.message
        assert "modprobe tun" in failed.hint

    def test_a_device_that_is_no_tun(self, lab: Lab) -> None:
        instead = 'mount --bind /dev/null /dev/net/tun && exec ktpy connect "$@"'
        failed = failing(lab, command=["unshare", "--mount", "sh", "-c", instead, "sh"], user="root")
        assert failed.exit_code == 32

    def test_sudo_refuses(self, lab: Lab, eve: str, kubeconfigs: Kubeconfigs) -> None:
        failed = failing(lab, command=["ktpy", "connect"], user=eve, kubeconfig=kubeconfigs.changed())
        assert failed.exit_code == 33
        assert "sudo refuses" in failed.message
        assert "sudo ktpy connect" in failed.hint

    def test_no_sudo(self, lab: Lab) -> None:
        ktpy = lab.exec(["sh", "-c", "command -v ktpy"], check=True).stdout.strip()
        failed = failing(lab, command=["env", f"PATH={Path(ktpy).parent}", ktpy, "connect"])
        assert failed.exit_code == 33
        assert "no sudo" in failed.message

    def test_quit_when_not_connected(self, lab: Lab) -> None:
        done = lab.exec(["ktpy", "quit"], user="dev")
        assert (done.returncode, "nothing to quit" in done.stdout) == (0, True)


class TestResolver:
    @contextmanager
    def mounted(self, lab: Lab, *options: str) -> Iterator[None]:
        """Another file over /etc/resolv.conf, from the machine's disk."""
        source = lab.state_dir / "resolv.conf"
        source.write_text(lab.exec(["cat", "/etc/resolv.conf"]).stdout)
        lab.exec(["mount", "--bind", str(source), "/etc/resolv.conf"], check=True)
        try:
            if options:
                lab.exec(["mount", *options, "/etc/resolv.conf"], check=True)
            yield
        finally:
            lab.exec(["umount", "/etc/resolv.conf"], check=True)
            source.unlink()

    def test_read_only(self, lab: Lab) -> None:
        with self.mounted(lab, "-o", "remount,bind,ro"):
            failed = failing(lab)
        assert failed.exit_code == 34
        assert "read-only file system" in failed.message
        assert "--no-dns" in failed.hint

    def test_immutable(self, lab: Lab) -> None:
        with self.mounted(lab):
            if lab.exec(["chattr", "+i", "/etc/resolv.conf"]).returncode != 0:
                pytest.skip("neither this machine's file system nor its rights know chattr +i")
            try:
                failed = failing(lab)
            finally:
                lab.exec(["chattr", "-i", "/etc/resolv.conf"], check=True)
        assert failed.exit_code == 34
        assert "chattr +i" in failed.message
        assert "chattr -i" in failed.hint

    def test_the_way_out_that_the_hint_names(self, lab: Lab) -> None:
        read_only, options = self.mounted(lab, "-o", "remount,bind,ro"), ("--namespace", NAMESPACE, "--no-dns")
        with read_only, connecting(lab, *options) as session:
            assert session.status()["dns"] is None
            session.quit()
