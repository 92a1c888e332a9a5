"""Small HTTP requests on several kept connections: `python -m tests.bench.load.width HOST PORT SECONDS WIDTH`.

A closed loop: each connection sends the next request when it has the answer. Prints how many were answered a second.
"""

import asyncio
import json
import sys

from tests.bench.server import BODY

TIMEOUT_S = 10.0


async def converse(host: str, port: int, deadline_s: float) -> int:
    """How many answers came on one connection; EOFError when it ended too early."""
    now = asyncio.get_running_loop().time
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection(host, port)
    answers = 0
    while now() < deadline_s:
        writer.write(request)
        async with asyncio.timeout(TIMEOUT_S):
            await reader.readuntil(BODY)
        answers += 1
    writer.close()
    return answers


async def main(host: str, port: str, duration_s: str, width: str) -> None:
    began_s = asyncio.get_running_loop().time()
    deadline_s = began_s + float(duration_s)
    conversations = (converse(host, int(port), deadline_s) for _ in range(int(width)))
    answers = sum(await asyncio.gather(*conversations))
    print(json.dumps(answers / (asyncio.get_running_loop().time() - began_s)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
