"""Connections of the laptop that are open while things go wrong: most are silent, some talk all the time."""

import asyncio
import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.e2e.kit.laptop import Laptop
from tests.lab.namespaces import inside_netns

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATIENCE_S = 60.0


@dataclass
class Talks:
    """What became of them, once they are over. The port echoes."""

    addresses: list[str]
    port: int
    idle: int
    talking: int
    said_bytes: int = 0
    failures: list[str] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        count = self.idle + self.talking
        async with asyncio.timeout(PATIENCE_S):
            streams = await asyncio.gather(
                *(asyncio.open_connection(self.addresses[n % len(self.addresses)], self.port) for n in range(count))
            )
        talks = [asyncio.create_task(self._talk(n, *stream)) for n, stream in enumerate(streams[: self.talking])]
        self.is_open.set()
        await asyncio.to_thread(self.may_end.wait)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*talks, *(self._say_one(*stream) for stream in streams[self.talking :]))

    async def _talk(self, seed: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say random bytes at random times; what comes back has to be the same to the end."""
        chance, said, heard = random.Random(seed), hashlib.sha256(), hashlib.sha256()

        async def listen() -> None:
            while data := await reader.read(65536):
                heard.update(data)

        try:
            listening = asyncio.create_task(listen())
            while not self.may_end.is_set():
                data = chance.randbytes(chance.randint(1, 4000))
                said.update(data)
                self.said_bytes += len(data)
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(chance.random() * 0.2)
            writer.write_eof()
            await listening
            if said.digest() != heard.digest():
                self.failures.append(f"connection {seed} heard something else than it said")
        except OSError as error:
            self.failures.append(f"connection {seed}: {error}")
        finally:
            writer.close()

    async def _say_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"still here")
            if await reader.readexactly(10) != b"still here":
                self.failures.append("an idle connection heard something else than it said")
        except (OSError, EOFError) as error:
            self.failures.append(f"an idle connection: {error}")
        finally:
            writer.close()


@contextmanager
def talking(laptop: Laptop, talks: Talks) -> Iterator[Talks]:
    """They are open in the block; after it `failures` is complete."""

    def run() -> None:
        with inside_netns(laptop.netns):
            try:
                asyncio.run(talks.run())
            except (OSError, TimeoutError) as error:
                talks.failures.append(f"{type(error).__name__}: {error}")
            finally:
                talks.is_open.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert talks.is_open.wait(PATIENCE_S)
        assert not talks.failures
        yield talks
    finally:
        talks.may_end.set()
        thread.join()
