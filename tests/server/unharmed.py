"""What must hold after whatever a client did."""

import dataclasses
import time

from harness import wait_for

SLACK = 6 << 20


@dataclasses.dataclass
class Idle:
    """A server at rest: its memory, open files, and share of the KV memory in use."""

    rss: int
    descriptors: int
    kv_usage: float


def at_rest(server):
    """Waits until nothing runs."""
    server.wait_idle()
    return Idle(server.rss(), server.descriptors(), server.metrics().value("vllm:kv_cache_usage_perc"))


def check_unharmed(server, before, seconds=3, kept=0):
    """It lives, answers /health in under 100 ms, has its memory back, and no page of the KV memory is lost. Memory that
    stays is held against the test that it stays after, not against all that follow: `before` then counts it. `kept`: bytes that may
    stay, as a grammar does in its cache."""
    assert server.alive(), server.errors()[-3000:]
    server.check_quick()
    server.wait_idle()
    assert server.metrics().value("vllm:kv_cache_usage_perc") == before.kv_usage
    # The connection that this asks on may be a new one.
    wait_for(lambda: server.descriptors() <= before.descriptors + 1, seconds, "connections stay open")
    was, limit, deadline = before.rss, before.rss * 1.05 + SLACK + kept, time.monotonic() + seconds
    while server.rss() > limit and time.monotonic() < deadline:
        time.sleep(0.05)
    before.rss = max(before.rss, server.rss())
    assert before.rss <= limit, f"memory is not back: {was >> 10} -> {before.rss >> 10} KiB"
