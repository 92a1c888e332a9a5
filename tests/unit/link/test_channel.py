"""What a refused channel means, as OpenSSH says it; channels themselves: tests/component/link."""

import errno

import asyncssh
import pytest

from ktpy.link.channel import open_failure


@pytest.mark.parametrize(
    ("code", "text", "kind", "number"),
    [
        (2, "Connection refused", ConnectionRefusedError, errno.ECONNREFUSED),
        (2, "Connection timed out", TimeoutError, errno.ETIMEDOUT),
        (2, "Operation timed out", TimeoutError, errno.ETIMEDOUT),
        (2, "No route to host", OSError, errno.EHOSTUNREACH),
        (2, "Host is unreachable", OSError, errno.EHOSTUNREACH),
        (2, "Network is unreachable", OSError, errno.ENETUNREACH),
        (2, "Network unreachable", OSError, errno.ENETUNREACH),
        (2, "open failed", OSError, errno.ENETUNREACH),
        (2, "Protocol wrong type for socket", OSError, errno.EIO),
        (1, "open failed", PermissionError, errno.EACCES),
    ],
)
def test_what_openssh_says(code: int, text: str, kind: type[OSError], number: int) -> None:
    error = open_failure(asyncssh.ChannelOpenError(code, text))
    assert type(error) is kind
    assert error.errno == number
