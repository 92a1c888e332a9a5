"""The supervisor is pid 1 of the shadow pod.

It runs sshd, keeps the authorized keys in step with the pod's annotations, counts the live sessions, and ends the
pod when there has been none for a while, so that a laptop which dies leaves nothing in the cluster.
"""

import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from ktpy_agent import flow_relay
from ktpy_agent.authorized_keys import SHADOW_OPTIONS, AuthorizedKeys, Permission
from ktpy_agent.children import reap
from ktpy_agent.idle import IdleTimer
from ktpy_agent.pod_log import announce_host_key, log
from ktpy_agent.settings import Settings
from ktpy_agent.sshd import SshdError, make_host_key, start_sshd, write_account

TICK_S = 0.1
"""A changed annotation, a signal or a dead sshd is noticed this soon."""


def run(settings: Settings) -> int:
    """Serve until idle or told to stop (0), or until sshd fails (1)."""
    try:
        with Supervisor(settings) as supervisor:
            return supervisor.serve()
    except (SshdError, OSError) as exc:
        log(f"cannot run sshd: {exc}")
        return 1


class Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._stop_signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_signal)  # pid 1 has no default actions
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        write_account(settings.run_dir)
        host_key, public_key = make_host_key(settings.run_dir)
        announce_host_key(public_key)
        # A datagram's flow is an open file, of which a container may have more than it is given at first.
        session = f"ulimit -Sn $(ulimit -Hn); exec {Path(sys.argv[0]).resolve()} session"
        permission = Permission(SHADOW_OPTIONS, session)
        self._keys = AuthorizedKeys(settings.annotations, settings.run_dir / "authorized_keys", permission, log)
        self._keys.refresh()
        self._settings, self._flows = settings, flow_relay.listen(settings.flows)
        self._bulk = flow_relay.listen_for_bulk(settings.bulk_port)
        self._relay_pid = self._start_relay()
        self._sessions = SessionRegister(settings.socket)
        self._idle = IdleTimer(settings.idle_s, time.monotonic())
        self._sshd_pid: int | None = start_sshd(settings, host_key, self._keys.path)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        """End sshd's listener; the sessions end themselves when their register closes."""
        self._sessions.close()
        if self._sshd_pid is not None:
            os.kill(self._sshd_pid, signal.SIGTERM)

    def serve(self) -> int:
        while True:
            live = self._sessions.wait(TICK_S)
            if self._stop_signal is not None:
                log(f"stopping on {signal.Signals(self._stop_signal).name}")
                return 0
            if (status := self._reap()) is not None:
                log(f"sshd ended with status {status}")
                return 1
            self._keys.refresh()
            if self._idle.observe(live, time.monotonic()):
                log("no SSH session left, exiting")
                return 0

    def _start_relay(self) -> int:
        return flow_relay.start(self._flows, self._settings.socket, self._bulk)

    def _note_signal(self, number: int, _frame: object) -> None:
        self._stop_signal = number

    def _reap(self) -> int | None:
        """Return sshd's exit status once it ended. The relay of flows is started again."""
        for pid, status in reap():
            if pid == self._relay_pid:
                self._relay_pid = self._start_relay()
            if pid == self._sshd_pid:
                self._sshd_pid = None
                return status
        return None


class SessionRegister:
    """A SessionRegister counts the live `ktpy-agent session` processes: each holds a connection to a unix socket.

    The kernel closes the connection however the process ends, SIGKILL included, so the count is never stale.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of an earlier container in the same pod
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._sessions: set[socket.socket] = set()

    def wait(self, timeout_s: float) -> int:
        """Wait for sessions to come or go, at most `timeout_s`; return how many are live."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                self._read(key.fileobj)
        return len(self._sessions)

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        try:
            session, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        session.setblocking(False)
        self._sessions.add(session)
        self._selector.register(session, selectors.EVENT_READ)

    def _read(self, session: socket.socket) -> None:
        """Drop a session that has ended: it has nothing to say, so readable means that."""
        try:
            ended = not session.recv(4096)
        except BlockingIOError:
            return
        except ConnectionResetError:
            ended = True
        if ended:
            self._selector.unregister(session)
            self._sessions.discard(session)
            session.close()
