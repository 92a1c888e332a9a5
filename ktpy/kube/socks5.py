"""The client's side of SOCKS5 (RFC 1928), with user and password (RFC 1929). The proxy resolves names."""

import asyncio
from ipaddress import ip_address

_NO_LOGIN, _LOGIN = 0, 2
_CONNECT = b"\x05\x01\x00"
_REFUSALS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class Socks5Error(Exception):
    """The proxy does not do what is asked; the text says why."""


async def connect(
    transport: asyncio.WriteTransport, reader: asyncio.StreamReader, host: str, port: int, login: tuple[str, str] | None
) -> None:
    """Have the proxy connect to `host`; what follows on the transport is between both ends.

    Raises Socks5Error, OSError, and EOFError when the proxy closes the connection.
    """
    methods = bytes((_NO_LOGIN, _LOGIN)) if login else bytes((_NO_LOGIN,))
    transport.write(b"\x05" + _counted(methods))
    version, method = await reader.readexactly(2)
    if version != 5:
        raise Socks5Error("it speaks no SOCKS5")
    if method == _LOGIN and login:
        transport.write(b"\x01" + b"".join(_counted(text.encode()) for text in login))
        _, status = await reader.readexactly(2)
        if status:
            raise Socks5Error("it does not accept this user and password")
    elif method != _NO_LOGIN:
        raise Socks5Error("it wants a login of another kind" if login else "it wants a user and a password in its URL")
    transport.write(_CONNECT + _address(host) + port.to_bytes(2, "big"))
    _, refusal, _, kind = await reader.readexactly(4)
    if refusal:
        raise Socks5Error(_REFUSALS.get(refusal, f"code {refusal}"))
    bound_bytes = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
    await reader.readexactly(bound_bytes + 2)


def _address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        return b"\x03" + _counted(host.encode("idna"))
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


def _counted(data: bytes) -> bytes:
    if len(data) > 255:
        raise Socks5Error("a name, user or password is longer than 255 bytes")
    return bytes((len(data),)) + data
