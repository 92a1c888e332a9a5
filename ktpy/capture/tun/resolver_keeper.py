"""Notices that somebody replaced /etc/resolv.conf while ktpy is connected, and has it written over again.

Network managers replace it with each change of network. What they wrote tells the name servers to ask from then on.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ktpy.dns.system import SYSTEMD_RESOLVED
from ktpy.errors import KtpyError
from ktpy.helper.protocol import Resolver, SetResolver
from ktpy.helper.resolv_conf import is_of_a_session
from ktpy.wire.resolv_conf import parse

RESOLV_CONF: Final = Path("/etc/resolv.conf")
POLL_S: Final = 0.25
ROUNDS_MAX: Final = 5
ROUNDS_WITHIN_S: Final = 60.0
"""Who replaces the file more than ROUNDS_MAX times within this time does it because ktpy writes over it."""


class _Look(NamedTuple):
    """A _Look is where a link leads, and the content; both are empty where there is none."""

    link: str
    content: bytes


async def keep_resolver(
    detect: Callable[[], Awaitable[Resolver]],
    request_for: Callable[[str], SetResolver],
    set_resolver: Callable[[SetResolver], Awaitable[object]],
    use: Callable[[Sequence[str]], None],
    *,
    target: Path | None = None,
    path: Path = RESOLV_CONF,
    poll_s: float = POLL_S,
) -> AsyncGenerator[str, None]:
    """Yield a sentence for each replacement, once the file names ktpy again and `use` has the new name servers.

    `request_for` makes the request for a kind of resolver, `target` is what the user's file linked to before ktpy
    replaced it. The generator ends when ktpy gives in.
    """
    rounds: deque[float] = deque(maxlen=ROUNDS_MAX)
    known: tuple[_Look | None, _Look | None] = (None, None)  # what came before the first look counts, too
    before = known
    followed: tuple[str, ...] = ()  # what `target` came to say
    while True:
        await asyncio.sleep(poll_s)
        now = (_look(path), None if target is None else _look(target))
        settled, before = now == before, now
        if now == known or not settled:  # a writer may be at it
            continue
        is_path_same, known = now[0] == known[0], now
        try:
            if is_path_same and now[1]:
                servers = _listed(now[1])
                followed = servers
                use((*filter(is_of_a_session, _listed(now[0])), *followed))
                yield f"{target} has changed; ktpy asks {', '.join(servers) or 'nobody'} for other names now."
                continue
            found = await detect()
            request = request_for(found.kind)
            if _asks_us(found, request):
                sessions = filter(is_of_a_session, found.nameservers)  # another may have come, or gone
                use((*sessions, *followed) if followed else found.nameservers)
                continue
            if len(rounds) == ROUNDS_MAX and time.monotonic() - rounds[0] < ROUNDS_WITHIN_S:
                yield (
                    f"{path} was replaced {ROUNDS_MAX + 1} times within {ROUNDS_WITHIN_S:.0f} s; ktpy leaves it alone, "
                    "so cluster names no longer resolve. Stop what writes it, then connect again."
                )
                return
            rounds.append(time.monotonic())
            await set_resolver(request)
        except (KtpyError, OSError) as exc:
            why = exc.message if isinstance(exc, KtpyError) else str(exc)
            yield f"{path} was replaced, and cluster names no longer resolve: {why}"
            return
        followed = ()
        use(found.nameservers)
        names = ", ".join(found.nameservers)
        yield f"{path} was replaced; ktpy wrote over it again and asks {names} for other names now."


def _asks_us(found: Resolver, request: SetResolver) -> bool:
    if found.kind == SYSTEMD_RESOLVED:
        return set(request.search) <= set(found.search)
    return not {str(address) for address in request.nameservers}.isdisjoint(found.nameservers)


def _listed(look: _Look | None) -> tuple[str, ...]:
    return parse(look.content.decode(errors="replace")).nameservers if look else ()


def _look(path: Path) -> _Look:
    try:
        return _Look(str(path.readlink()) if path.is_symlink() else "", path.read_bytes())
    except OSError:
        return _Look("", b"")
