"""What a run takes: the file once, the keys and values it was given, and little else."""

import json

from measurements import note

KV_MIB = 64


def test_peak_of_run(run_chorus, smollm2):
    prompt = "Tell me about lighthouses."
    flags = ("-p", prompt, "--max-tokens", "32", "--kv-memory", KV_MIB, "--temperature", "0", "--json")
    result = run_chorus("run", smollm2, *flags)
    assert result.rc == 0, result.stderr
    size, kv = smollm2.stat().st_size, KV_MIB << 20
    limit = 1.5 * size + kv
    first = json.loads(result.stdout)["first_token_seconds"]
    note(
        f"run smollm2: peak {result.max_rss / 2**20:.0f} MiB, file {size / 2**20:.0f} MiB, keys and values "
        f"{KV_MIB} MiB, limit {limit / 2**20:.0f} MiB; first token after {first * 1e3:.0f} ms, whole "
        f"{result.seconds:.2f} s"
    )
    assert result.max_rss < limit


def test_inspect_and_tokenize_do_not_load_weights(run_chorus, smollm2):
    for arguments in (("inspect", smollm2), ("tokenize", smollm2, "some text")):
        result = run_chorus(*arguments)
        assert result.rc == 0, result.stderr
        note(f"{arguments[0]} smollm2: peak {result.max_rss / 2**20:.0f} MiB, {result.seconds:.2f} s")
        assert result.max_rss < 96 << 20
