"""A small asyncio client for many streams at once: HTTP/1.1 as far as the server speaks it, one connection a request."""

import asyncio
import dataclasses
import json
import time


@dataclasses.dataclass
class Stream:
    """What came of one streamed request. `broken`: the connection ended before the answer did. `events` are the
    documents of its events, `done` the number of [DONE] events; `times` says when each event came."""

    status: int = 0
    headers: dict = dataclasses.field(default_factory=dict)
    events: list = dataclasses.field(default_factory=list)
    times: list = dataclasses.field(default_factory=list)
    body: bytes = b""  # of an answer that is no stream
    done: int = 0
    broken: str = ""

    @property
    def text(self):
        return "".join(choice.get("text") or "" for event in self.events for choice in event.get("choices", ()))

    @property
    def finishes(self):
        return [c["finish_reason"] for e in self.events for c in e.get("choices", ()) if c.get("finish_reason")]

    @property
    def errors(self):
        return [event["error"] for event in self.events if "error" in event]

    def whole(self):
        """Whether it ended as a stream must: one finish reason, one [DONE] after it, nothing else."""
        return not self.broken and self.status == 200 and len(self.finishes) == 1 and self.done == 1 and not self.errors


def request_bytes(path, body, headers=None):
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def read_head(reader):
    """(status, headers in lower case) of an answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
    return int(lines[0].split()[1]), headers


async def pieces(reader, headers):
    """The body's chunks."""
    if headers.get("transfer-encoding") != "chunked":
        yield await reader.readexactly(int(headers["content-length"]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"


async def stream(port, path, body, headers=None, stop_after=None, pause=0, seconds=120, result=None):
    """Asks and reads to the end, or until `stop_after` events have come and then hangs up; `pause` seconds between
    reads make a slow reader. `result` is the Stream to fill, for who wants to look at it before the end."""
    result = result or Stream()
    try:
        async with asyncio.timeout(seconds):
            await _stream(port, request_bytes(path, body, headers), result, stop_after, pause)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        result.broken = f"{type(error).__name__}: {error}"
    return result


async def _stream(port, request, result, stop_after, pause):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(request)
        if stop_after == 0:
            await writer.drain()
            return
        result.status, result.headers = await read_head(reader)
        rest = b""
        async for piece in pieces(reader, result.headers):
            if not result.headers.get("content-type", "").startswith("text/event-stream"):
                result.body += piece
                continue
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                add_event(result, event)
            if stop_after is not None and len(result.events) >= stop_after:
                return
            if pause:
                await asyncio.sleep(pause)
        assert not rest, f"half an event: {rest!r}"
    finally:
        writer.close()


def add_event(result, event):
    if event.startswith(b":"):
        return  # a comment, which keeps a connection alive
    assert event.startswith(b"data: "), event
    if event == b"data: [DONE]":
        result.done += 1
        return
    assert not result.done, "an event after [DONE]"
    result.events.append(json.loads(event[6:]))
    result.times.append(time.monotonic())


async def gather(coroutines, at_once):
    """Runs them, so many at once; results in order."""
    room = asyncio.Semaphore(at_once)

    async def one(coroutine):
        async with room:
            return await coroutine

    return await asyncio.gather(*(one(coroutine) for coroutine in coroutines))
