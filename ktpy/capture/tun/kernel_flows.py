"""The flows whose packets the kernel turns round in the TUN by itself, as `ktpy.helper.flow_program` has it do."""

import errno
import logging
import socket
from contextlib import suppress

from ktpy.helper import bpf
from ktpy.helper.flow_program import KEY_BYTES, VALUE
from ktpy.packet.checksum import change
from ktpy.packet.flow import Flow

_NO_ROOM = frozenset({errno.E2BIG, errno.ENOMEM})
"""Errors that are about the one flow."""

logger = logging.getLogger(__name__)


class KernelFlows:
    """KernelFlows enters flows in the map. Where that fails, the main process goes on with their packets as with all.

    Before Linux 5.19 it does not have the right to.
    """

    def __init__(self, map_fd: int) -> None:
        self._map_fd = map_fd
        self._flows: set[Flow] = set()
        self._is_paused = self._is_refused = False

    def enter(self, flow: Flow) -> bool:
        self._flows.add(flow)
        return not self._is_paused and self._put(flow)

    def leave(self, flow: Flow) -> None:
        if flow in self._flows:
            self._flows.remove(flow)
            self._remove(flow)

    def pause(self) -> None:
        """Have the main process see every packet from now on."""
        self._is_paused = True
        for flow in self._flows:
            self._remove(flow)

    def resume(self) -> None:
        """Let the kernel have the flows again."""
        self._is_paused = False
        for flow in self._flows:
            self._put(flow)

    def _put(self, flow: Flow) -> bool:
        if self._is_refused:
            return False
        try:
            for key, value in _entries(flow).items():
                bpf.put(self._map_fd, key, value)
        except OSError as error:
            self._remove(flow)
            if error.errno not in _NO_ROOM:
                self._is_refused = True
                logger.info("packets go through ktpy, since the kernel takes no flows: %s", error.strerror)
            return False
        return True

    def _remove(self, flow: Flow) -> None:
        for key in _entries(flow):
            with suppress(OSError):  # it was not there
                bpf.remove(self._map_fd, key)


def _entries(flow: Flow) -> dict[bytes, bytes]:
    """Return the keys and values of both directions."""
    return {
        old.ljust(KEY_BYTES, b"\0"): VALUE.pack(
            rewrite.new, socket.htons(rewrite.address_change), socket.htons(change(old[-4:], rewrite.new[-4:]))
        )
        for old, rewrite in ((flow.key, flow.outbound), (flow.reply_key, flow.inbound))
    }
