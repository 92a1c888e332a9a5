"""The way to a pod past the API server, for those of its connections that may take it."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from ktpy.errors import KtpyError, LinkLost

CONNECT_TIMEOUT_S: Final = 3.0
TELL_AFTER_S: Final = 3.0

logger = logging.getLogger(__name__)


class DirectWay:
    """A DirectWay connects to a pod's sshd at the first place of those that `find` names (host and port) which answers,
    and tells when that begins and ends.

    The host key that came through the API server decides whose sshd it is, before anything goes over a connection.
    """

    def __init__(
        self,
        find: Callable[[], AsyncIterator[tuple[str, int]]],
        tell_up: Callable[[str], None],
        tell_down: Callable[[str], None],
        *,
        is_optional: bool = False,
    ) -> None:
        """Each is told a sentence, when that changes. Of a way that `is_optional` it is no news that there is none, and
        what goes over it goes on through the API server when it is lost."""
        self._find, self._tell = find, {True: tell_up, False: tell_down}
        self.is_optional = is_optional
        self._found = ""
        self._standing = 0
        self._is_told_up: bool | None = None
        self._tried_since_s: float | None = None
        """Since when none could be opened, while none ever was."""

    @property
    def address(self) -> str | None:
        """Where the pod is reached so; None while it is not."""
        return self._found if self._standing else None

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        """Connect as a Connector does, wherever that is. Raises LinkLost, and what `find` raises."""
        failure = LinkLost("There is no way past the API server.")
        async for host, port in self._find():
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    made = await asyncio.get_running_loop().create_connection(protocol_factory, host, port)
            except TimeoutError:
                failure = LinkLost(f"{place} did not answer within {CONNECT_TIMEOUT_S:g} s.")
            except OSError as error:
                failure = LinkLost(f"{place} cannot be reached ({error.strerror or error}).")
            else:
                self._found = place
                return made
        raise failure

    def up(self) -> None:
        """Hear that a connection stands."""
        self._standing += 1
        self._change(True, f"new connections by {self._found}, past the API server")

    def down(self) -> None:
        """Hear that one that stood has ended."""
        self._standing -= 1

    def failed(self, why: KtpyError) -> None:
        """Hear why one has ended, or could not be opened."""
        if not self._standing and self._is_lasting():
            told = f"{why.message} {why.hint or ''}".strip()
            logger.info("no way past the API server: %s", told)
            self._change(False, f"New connections go through the API server, and ktpy keeps trying: {told}")

    def _is_lasting(self) -> bool:
        """Return whether it is time to tell of a failure: a node knows a new port some time after it is made."""
        now_s = asyncio.get_running_loop().time()
        self._tried_since_s = self._tried_since_s or now_s
        tell_after_s = math.inf if self.is_optional else TELL_AFTER_S
        return self._is_told_up is not None or now_s - self._tried_since_s >= tell_after_s

    def _change(self, is_up: bool, sentence: str) -> None:
        if self._is_told_up is not is_up:
            self._is_told_up = is_up
            self._tell[is_up](sentence)
