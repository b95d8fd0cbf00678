"""/metrics: the names that routers and dashboards of vLLM read, and that they say what happened."""

import math
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import wait_for
from variants import write_variant

SCALARS = {
    "vllm:num_requests_waiting": "gauge",
    "vllm:num_requests_running": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
}
ONE_SERIES = [*SCALARS, "vllm:cache_config_info", "vllm:lora_requests_info"]
HISTOGRAMS = ("vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds", "vllm:e2e_request_latency_seconds")


@pytest.fixture
def fresh(start_tiny, tmp_path, tiny_adapters):
    """A server of one's own with a watched directory of three adapters and room for two."""
    for i, name in enumerate(("alpha", "beta", "gamma")):
        write_variant(tiny_adapters["all_linear"], tmp_path / name, i)
    server = start_tiny("--adapters", tmp_path, "--served-name", "tiny-base")
    wait_for(lambda: len(server.models()) == 4)
    yield server
    assert server.stop() == 0


def test_the_form_is_prometheus_own(server):
    server.complete()
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families) > 15
    metrics = server.metrics()
    for name, _ in metrics.series:
        family = name
        for suffix in ("_bucket", "_sum", "_count"):
            if metrics.types.get(name.removesuffix(suffix)) == "histogram":
                family = name.removesuffix(suffix)
        assert family in metrics.types, f"{name} has no TYPE"
    assert {name for name, kind in metrics.types.items() if kind == "counter" and not name.endswith("_total")} == set()


@pytest.mark.parametrize("name", ONE_SERIES)
def test_one_series_each(server, name):
    """A router takes the first series that it finds."""
    server.complete(model="qv")
    found = server.metrics().named(name)
    assert len(found) == 1, found


def test_the_scalars(server):
    metrics = server.metrics()
    for name, kind in SCALARS.items():
        assert metrics.types[name] == kind
        ((labels, value),) = metrics.named(name)
        assert labels == {"model_name": "base", "engine": "0"}
        assert 0 <= value <= 1
    ((labels, value),) = metrics.named("vllm:cache_config_info")
    assert value == 1 and int(labels["block_size"]) > 0 and int(labels["num_gpu_blocks"]) > 0


def test_histograms_are_whole(server):
    server.complete(max_tokens=8)
    metrics = server.metrics()
    for name in HISTOGRAMS:
        assert metrics.types[name] == "histogram", name
    for name in (name for name, kind in metrics.types.items() if kind == "histogram"):
        counts = metrics.named(name + "_count")
        assert counts or name not in HISTOGRAMS, name
        for labels, count in counts:
            buckets = [(own["le"], v) for own, v in metrics.named(name + "_bucket") if labels.items() <= own.items()]
            bounds = [math.inf if le == "+Inf" else float(le) for le, _ in buckets]
            assert bounds == sorted(set(bounds)) and bounds[-1] == math.inf, name
            values = [value for _, value in buckets]
            assert values == sorted(values) and values[-1] == count
            assert metrics.value(name + "_sum", **labels) >= 0


def test_counters_rise_by_what_was_done(fresh):
    before = fresh.metrics()
    usage = fresh.complete("Hello there", max_tokens=7, ignore_eos=True)["usage"]
    fresh.complete("Hello there", "alpha", max_tokens=5, ignore_eos=True)
    fresh.post("/v1/completions", {"model": "nobody", "prompt": "x"})
    fresh.wait_idle()
    after = fresh.metrics()
    grown = lambda name, **labels: after.sum(name, **labels) - before.sum(name, **labels)
    assert grown("vllm:generation_tokens_total") == 12
    assert grown("vllm:prompt_tokens_total") == 2 * usage["prompt_tokens"]
    assert grown("vllm:request_success_total", finished_reason="length") == 2
    assert grown("vllm:time_to_first_token_seconds_count") == 2
    assert grown("vllm:inter_token_latency_seconds_count") == 6 + 4
    assert grown("vllm:e2e_request_latency_seconds_count") == 2
    for _, value in [pair for name in after.types if after.types[name] == "counter" for pair in after.named(name)]:
        assert value >= 0


def test_series_of_each_adapter(fresh):
    """Under own names, so that those of vLLM stay single."""
    fresh.complete("Hello", "alpha", max_tokens=9, ignore_eos=True)
    fresh.complete("Hello", "beta", max_tokens=4, ignore_eos=True)
    metrics = fresh.metrics()
    for name in {own for own, _ in metrics.series if own.startswith("chorus:")}:
        assert all(len(labels) < 6 for labels, _ in metrics.named(name))
    counted = {}
    for (name, labels), value in metrics.series.items():
        if name.startswith("chorus:") and "generation_tokens" in name:
            counted[dict(labels).get("adapter")] = value
    assert counted["alpha"] == 9 and counted["beta"] == 4


def test_lora_requests_info(fresh):
    ((labels, value),) = fresh.metrics().named("vllm:lora_requests_info")
    assert set(labels) >= {"max_lora", "running_lora_adapters", "waiting_lora_adapters"}
    assert int(labels["max_lora"]) >= 3 and abs(value - time.time()) < 60
    names = {name.strip() for name in labels["running_lora_adapters"].split(",")}
    assert names == {"alpha", "beta", "gamma"}  # loaded and ready
    fresh.post("/v1/unload_lora_adapter", {"lora_name": "beta"})
    ((labels, later),) = fresh.metrics().named("vllm:lora_requests_info")
    assert set(labels["running_lora_adapters"].split(",")) == {"alpha", "gamma"} and later >= value


def test_residency(fresh):
    metrics = fresh.metrics()
    loaded = metrics.named("vllm:lora_adapter_loaded")
    assert {labels["adapter_name"] for labels, value in loaded if value == 1} == {"alpha", "beta", "gamma"}
    for labels, _ in loaded:
        assert {"adapter_name", "level", "pinned", "rank"} <= set(labels) and labels["level"] in ("gpu", "cpu")
    assert metrics.sum("vllm:lora_adapter_load_seconds_count") == 3
    counts = [metrics.sum(f"vllm:num_{level}_loaded_lora_adapters") for level in ("gpu", "cpu")]
    assert max(counts) == 3 and metrics.named("vllm:max_gpu_lora_adapters")


def test_gauges_while_streams_run(real):
    body = {"model": "elf", "prompt": "Hello", "max_tokens": 400, "ignore_eos": True, "stream": True}
    with real.post("/v1/completions", body, stream=True) as answer:
        lines = answer.iter_lines()  # kept: with it goes the stream
        next(lines)
        metrics = real.metrics()
        assert metrics.value("vllm:num_requests_running") == 1
        assert 0 < metrics.value("vllm:kv_cache_usage_perc") <= 1
    real.wait_idle(2)
    assert real.metrics().value("vllm:num_requests_running") == 0


def test_scraping_while_it_works(fresh):
    """As a router does, 50 ms apart and from several places: each page is whole."""
    problems, stop = [], threading.Event()

    def scrape():
        while not stop.is_set():
            try:
                fresh.metrics()
            except Exception as problem:  # noqa: BLE001  (reported below)
                problems.append(problem)
            time.sleep(0.005)

    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    texts = {fresh.text("Hello", "alpha", max_tokens=100, ignore_eos=True) for _ in range(5)}
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems and len(texts) == 1
