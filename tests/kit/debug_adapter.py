"""A debugger's front end, as editors have it: the Debug Adapter Protocol, over a connection that is open.

https://microsoft.github.io/debug-adapter-protocol/specification
"""

import json
import socket
from typing import Any

Body = dict[str, Any]


class Debugger:
    """It is attached to a Python program (debugpy), and knows one breakpoint."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming = connection.makefile("rb")
        self._sent = 0
        self._early: list[Body] = []
        """Messages that came while another was waited for."""

    def attach(self, path: str, line: int) -> None:
        """Break at this line of a file; the program goes on until it comes there."""
        self._ask("initialize", adapterID="python", pathFormat="path")
        attaching = self._send("attach", justMyCode=False)
        self._event("initialized")
        found = self._ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])
        assert found["breakpoints"][0]["verified"], found
        self._ask("configurationDone")
        self._answer(attaching)

    def variables_at_stop(self) -> dict[str, str]:
        """Wait until the program stands at the breakpoint; its local variables there, as Python writes them."""
        self._thread = self._event("stopped")["threadId"]
        frame = self._ask("stackTrace", threadId=self._thread)["stackFrames"][0]
        scope = self._ask("scopes", frameId=frame["id"])["scopes"][0]
        found = self._ask("variables", variablesReference=scope["variablesReference"])["variables"]
        return {one["name"]: one["value"] for one in found}

    def go_on(self) -> None:
        self._ask("continue", threadId=self._thread)

    def _ask(self, command: str, **arguments: Any) -> Body:
        return self._answer(self._send(command, **arguments))

    def _send(self, command: str, **arguments: Any) -> int:
        self._sent += 1
        message = {"seq": self._sent, "type": "request", "command": command, "arguments": arguments}
        content = json.dumps(message).encode()
        self._connection.sendall(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        return self._sent

    def _answer(self, number: int) -> Body:
        message = self._next("response", "request_seq", number)
        assert message["success"], message
        return message.get("body") or {}

    def _event(self, name: str) -> Body:
        return self._next("event", "event", name).get("body") or {}

    def _next(self, kind: str, key: str, value: object) -> Body:
        for message in self._early:
            if message["type"] == kind and message[key] == value:
                self._early.remove(message)
                return message
        while True:
            message = self._receive()
            if message["type"] == kind and message[key] == value:
                return message
            self._early.append(message)

    def _receive(self) -> Body:
        head = self._incoming.readline()
        assert head.startswith(b"Content-Length: "), head
        self._incoming.readline()
        message: Body = json.loads(self._incoming.read(int(head.split()[1])))
        return message
