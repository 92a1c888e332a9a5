"""A WebSocket, by aiohttp.

python -m tests.e2e.kit.websocket_program serve PORT      echoes
python -m tests.e2e.kit.websocket_program talk URL        says each line of its input there, prints the answers
"""

import asyncio
import sys

from aiohttp import ClientSession, web


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


def serve(port: int) -> None:
    application = web.Application()
    application.add_routes([web.get("/", _echo)])
    web.run_app(application, host="::", port=port, access_log=None, shutdown_timeout=0.0)


async def talk(url: str) -> None:
    async with ClientSession() as session, session.ws_connect(url) as socket:
        while line := await asyncio.to_thread(sys.stdin.readline):
            await socket.send_str(line.strip())
            print(await socket.receive_str(), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["talk", url]:
            asyncio.run(talk(url))
        case _:
            sys.exit(__doc__)
