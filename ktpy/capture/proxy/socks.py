"""The server's side of SOCKS5 (RFC 1928, RFC 1929) and of SOCKS4 and 4a. Pure: bytes come in, bytes go out.

Of the commands there are CONNECT and, where datagrams are carried, UDP ASSOCIATE. The protocol bounds each message by
lengths of a byte each, and SOCKS4's texts, which end with a zero, are bounded here: a client that lies about one just
never comes to an end.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from ktpy.capture.proxy.destination import Destination, Kind, checked_host

SOCKS4, SOCKS5 = 4, 5
TEXT_MAX_BYTES: Final = 255

_CONNECT, _ASSOCIATE = 1, 3
_COMMANDS: Final = {2: "BIND", _ASSOCIATE: "UDP ASSOCIATE"}
_NO_LOGIN, _LOGIN, _NO_METHOD = 0, 2, 0xFF
_SUCCEEDED, _GENERAL_FAILURE, _COMMAND_NOT_SUPPORTED, _ADDRESS_TYPE_NOT_SUPPORTED = 0, 1, 7, 8
_GRANTED4, _REJECTED4, _REJECTED4_LOGIN = 90, 91, 93
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
_CODES: Final = {
    Kind.REFUSED: 5,
    Kind.NO_ROUTE: 3,
    Kind.UNREACHABLE: 4,
    Kind.SILENT: 4,
    Kind.UNKNOWN_NAME: 4,
    Kind.NO_ANSWER: _GENERAL_FAILURE,
}


class SocksError(Exception):
    """The client asks for what there is not, or speaks no SOCKS; `reply` is what it is told last."""

    def __init__(self, sentence: str, reply: bytes = b"") -> None:
        super().__init__(sentence)
        self.reply = reply


class _IncompleteError(Exception):
    """More bytes have to come."""


class SocksHandshake:
    """A SocksHandshake is what a client says before its connection is the destination's.

    `login` is the user and the password that it has to know, if any; SOCKS4 has but a user id, which has to be the
    password.
    """

    def __init__(self, version: int, login: tuple[str, str] | None, *, has_datagrams: bool = False) -> None:
        self.destination: Destination | None = None
        self.is_for_datagrams = False
        """Whether it is not to be connected: the client wants to send datagrams. Whence, is its own affair."""
        self._commands = (_CONNECT, _ASSOCIATE) if has_datagrams and version == SOCKS5 else (_CONNECT,)
        self._version = version
        self._login = login and (login[0].encode(), login[1].encode())
        self._buffer = b""
        self._read_bytes = 0
        self._step: Callable[[], bytes] = self._greeting if version == SOCKS5 else self._request4

    def receive(self, data: bytes) -> bytes:
        """Take what has come; return what is to be sent. `destination` is set at the end. Raises SocksError."""
        self._buffer += data
        replies = b""
        while self.destination is None:
            try:
                replies += self._step()
            except _IncompleteError:
                self._read_bytes = 0
                break
            except SocksError as error:
                raise SocksError(str(error), replies + error.reply) from None
            self._buffer, self._read_bytes = self._buffer[self._read_bytes :], 0
        return replies

    @property
    def rest(self) -> bytes:
        """What the client has sent behind its request."""
        return self._buffer

    def granted(self) -> bytes:
        """Return the reply once the destination is connected."""
        return self._reply4(_GRANTED4) if self._version == SOCKS4 else _reply5(_SUCCEEDED)

    def refused(self, kind: Kind) -> bytes:
        """Return the reply where it could not be."""
        return self._reply4(_REJECTED4) if self._version == SOCKS4 else _reply5(_CODES[kind])

    # --- SOCKS5: each step reads one message, and returns the reply

    def _greeting(self) -> bytes:
        version, count = self._take(2)
        methods = self._take(count)
        method = _LOGIN if self._login else _NO_LOGIN
        if version != SOCKS5 or method not in methods:
            wanted = "a login with user and password" if self._login else "no login"
            raise SocksError(f"The client does not offer {wanted}.", bytes((SOCKS5, _NO_METHOD)))
        self._step = self._credentials if self._login else self._request5
        return bytes((SOCKS5, method))

    def _credentials(self) -> bytes:
        [version] = self._take(1)
        user, password = self._counted(), self._counted()
        if version != 1 or (user, password) != self._login:
            raise SocksError("User or password are wrong.", b"\x01\x01")
        self._step = self._request5
        return b"\x01\x00"

    def _request5(self) -> bytes:
        version, command, _, kind = self._take(4)
        if version != SOCKS5:
            raise SocksError("The request is of another version than the greeting.", _reply5(_GENERAL_FAILURE))
        if command not in self._commands:
            what = _COMMANDS.get(command, f"command {command}")
            raise SocksError(f"There is no {what} here.", _reply5(_COMMAND_NOT_SUPPORTED))
        if kind == _NAME:
            host = self._counted()
        elif kind in _ADDRESS_BYTES:
            host = str(ip_address(self._take(_ADDRESS_BYTES[kind]))).encode()
        else:
            raise SocksError(f"There is no address type {kind}.", _reply5(_ADDRESS_TYPE_NOT_SUPPORTED))
        port = self._take(2)
        if command == _ASSOCIATE:
            self.is_for_datagrams, self.destination = True, Destination("", 0)
        else:
            self._arrive(host, port, _reply5(_GENERAL_FAILURE))
        return b""

    # --- SOCKS4

    def _request4(self) -> bytes:
        _, command = self._take(2)
        port, address = self._take(2), self._take(4)
        user = self._terminated()
        if self._login and user != self._login[1]:
            raise SocksError("The user id is not the password.", self._reply4(_REJECTED4_LOGIN))
        if command != _CONNECT:
            what = _COMMANDS.get(command, f"command {command}")
            raise SocksError(f"There is no {what} here.", self._reply4(_REJECTED4))
        is_4a = address[:3] == bytes(3) and address[3]
        host = self._terminated() if is_4a else str(ip_address(address)).encode()
        self._arrive(host, port, self._reply4(_REJECTED4))
        return b""

    @staticmethod
    def _reply4(code: int) -> bytes:
        return bytes((0, code)) + bytes(6)

    # --- both

    def _arrive(self, host: bytes, port: bytes, refusal: bytes) -> None:
        try:
            destination = Destination(checked_host(host.decode()), int.from_bytes(port, "big"))
        except ValueError as error:
            raise SocksError(f"{error}.", refusal) from None
        if not destination.port:
            raise SocksError("0 is no port.", refusal)
        self.destination = destination

    def _take(self, count: int) -> bytes:
        end = self._read_bytes + count
        if len(self._buffer) < end:
            raise _IncompleteError
        taken, self._read_bytes = self._buffer[self._read_bytes : end], end
        return taken

    def _counted(self) -> bytes:
        return self._take(self._take(1)[0])

    def _terminated(self) -> bytes:
        end = self._buffer.find(0, self._read_bytes, self._read_bytes + TEXT_MAX_BYTES + 1)
        if end < 0 and len(self._buffer) > self._read_bytes + TEXT_MAX_BYTES:
            raise SocksError(f"A text is longer than {TEXT_MAX_BYTES} bytes.", self._reply4(_REJECTED4))
        if end < 0:
            raise _IncompleteError
        text = self._take(end - self._read_bytes)
        self._take(1)
        return text


def associated(port: int) -> bytes:
    """Return the reply that names the port of 127.0.0.1 for the client's datagrams."""
    return bytes((SOCKS5, _SUCCEEDED, 0, _IPV4, 127, 0, 0, 1)) + port.to_bytes(2, "big")


def parse_datagram(data: bytes) -> tuple[Destination, bytes] | None:
    """Return where a client's datagram goes, and what it says; None for a fragment, or what is no such datagram."""
    if len(data) < 5 or data[2]:
        return None
    kind = data[3]
    start, length = (5, data[4]) if kind == _NAME else (4, _ADDRESS_BYTES.get(kind, 0))
    end = start + length
    if not length or len(data) < end + 2:
        return None
    host = data[start:end]
    try:
        text = checked_host(host.decode()) if kind == _NAME else str(ip_address(host))
    except ValueError:
        return None
    port = int.from_bytes(data[end : end + 2], "big")
    return (Destination(text, port), data[end + 2 :]) if port else None


def render_datagram(address: bytes, port: int, payload: bytes) -> bytes:
    """Return a datagram for the client, from a packed address."""
    kind = _IPV4 if len(address) == 4 else _IPV6
    return bytes((0, 0, 0, kind)) + address + port.to_bytes(2, "big") + payload


def _reply5(code: int) -> bytes:
    """Return the reply; the address that was bound, which is the pod's, is told to nobody: 0.0.0.0 port 0."""
    return bytes((SOCKS5, code, 0, _IPV4)) + bytes(6)
