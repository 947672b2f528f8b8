"""A TCP line between the workers and one server, which can be cut, or lose one of its ends without a word."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.chaos.fault import End

T = TypeVar("T")
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset, as the host of a killed program does."""


@dataclass(kw_only=True, eq=False)
class _Line:
    """One connection: to the worker, to the server, and whether what still comes goes nowhere."""

    worker: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: bool = False


class Proxy:
    """Listens on a free port of 127.0.0.1, in a thread of its own. `target`: the server's port, which may
    change."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.target = 0
        self.port = 0
        self._refusing = False
        self._lines: set[_Line] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.port = self._call(self._listen)

    def cut(self) -> None:
        """Resets every connection and refuses new ones, until `mend`."""
        self._call(self._cut)

    def lose(self, end: End) -> int:
        """Half-open: `end` of every connection is reset, the other hears nothing of it; how many there were.

        What it sends is taken and goes nowhere. New connections work. `mend` ends it.
        """
        return self._call(lambda: self._lose(end))

    def mend(self) -> int:
        """Lets new connections in, and resets the silent ones; how many had not been given up by then."""
        return self._call(self._mend)

    def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        return asyncio.run_coroutine_threadsafe(_awaited(work), self._loop).result()

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        try:
            from_server, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)  # as the closed port itself would answer
            return
        line = _Line(worker=writer, server=server)
        self._lines.add(line)
        try:
            await asyncio.gather(_carry(line, reader, server), _carry(line, from_server, writer))
        finally:
            self._lines.discard(line)
            _reset(line.worker)
            _reset(line.server)

    async def _cut(self) -> None:
        self._refusing = True
        for line in self._lines:
            _reset(line.worker)
            _reset(line.server)

    async def _lose(self, end: End) -> int:
        for line in self._lines:
            line.silent = True
            _reset(line.worker if end == "worker" else line.server)
        return len(self._lines)

    async def _mend(self) -> int:
        self._refusing = False
        silent = [line for line in self._lines if line.silent]
        for line in silent:
            _reset(line.worker)
            _reset(line.server)
        return len(silent)


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _carry(line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries one direction until its sender ends; then ends the other way too, unless it must hear
    nothing."""
    try:
        while data := await reader.read(65536):
            if not line.silent:
                writer.write(data)
                await writer.drain()
    except OSError:  # a reset, ours or theirs
        pass
    if not line.silent:
        _end(writer)


def _end(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    held = writer.get_extra_info("socket")
    if held is not None and not writer.is_closing():
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    writer.transport.abort()
