"""The developer's web program on the laptop: everything that HTTP/1.1 carries. Run as user dev, by `running`.

    python -m tests.e2e.kit.local_program PORT

| request              | answer                                                                                |
|----------------------|---------------------------------------------------------------------------------------|
| GET /                | "local", and the port of the connection's other end                                   |
| GET /big?bytes=N     | the demo shop's `big_body`                                                            |
| POST /upload         | JSON: how many bytes arrived, and their SHA-256                                       |
| POST /turn           | each chunk as it arrives, in upper case, in a chunk of its own                        |
| GET /events          | server-sent events: one now, and one for each POST /events                            |
| GET /chat            | a WebSocket that echoes; on the text `bye` it closes with 4001 and a reason           |
"""

import asyncio
import hashlib
import sys

from aiohttp import WSMsgType, web

from tests.demo.server import big_body

UPLOAD_MAX_BYTES = 2 << 30
BYE_CODE, BYE_REASON = 4001, "as you wish"
MESSAGE_MAX_BYTES = 16 << 20


class Program:
    def __init__(self) -> None:
        self._listeners: list[asyncio.Queue[str]] = []

    async def name(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(text=f"local {request.transport.get_extra_info('peername')[1]}\n")

    async def big(self, request: web.Request) -> web.StreamResponse:
        size = int(request.query["bytes"])
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for block in big_body(size):
            await response.write(block)
        await response.write_eof()
        return response

    async def upload(self, request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for data in request.content.iter_any():
            digest.update(data)
            size += len(data)
        return web.json_response({"bytes": size, "sha256": digest.hexdigest()})

    async def turn(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for data, _ in request.content.iter_chunks():
            await response.write(data.upper())
        await response.write_eof()
        return response

    async def events(self, request: web.Request) -> web.StreamResponse:
        mine: asyncio.Queue[str] = asyncio.Queue()
        mine.put_nowait("welcome")
        self._listeners.append(mine)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        while True:
            await response.write(f"data: {await mine.get()}\n\n".encode())

    async def publish(self, request: web.Request) -> web.Response:
        text = await request.text()
        for listener in self._listeners:
            listener.put_nowait(text)
        return web.Response(status=204)

    async def chat(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_MAX_BYTES, protocols=("chat.v2",))
        await socket.prepare(request)
        async for message in socket:
            match message.type, message.data:
                case WSMsgType.TEXT, "bye":
                    await socket.close(code=BYE_CODE, message=BYE_REASON.encode())
                case WSMsgType.TEXT, text:
                    await socket.send_str(text)
                case WSMsgType.BINARY, data:
                    await socket.send_bytes(data)
        return socket


def main() -> None:
    program = Program()
    application = web.Application(client_max_size=UPLOAD_MAX_BYTES)
    application.add_routes(
        [
            web.get("/", program.name),
            web.get("/big", program.big),
            web.post("/upload", program.upload),
            web.post("/turn", program.turn),
            web.get("/events", program.events),
            web.post("/events", program.publish),
            web.get("/chat", program.chat),
        ]
    )
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, shutdown_timeout=0.0)


if __name__ == "__main__":
    main()
