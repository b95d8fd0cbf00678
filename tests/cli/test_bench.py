"""`chorus bench`: every figure is there and makes sense as a number; how large it is depends on the machine."""

import json

import pytest

FIGURE = {"seconds", "mean_seconds", "samples", "clean_samples", "cpu_share", "clean"}
RATES = FIGURE | {"tokens_per_second", "mean_tokens_per_second"}
SMALL = ("--prompt", "32", "--output", "4", "--requests", "2", "--rank", "4")
TWO = ("--adapters", "2")


def check_figure(figure, keys):
    assert keys <= set(figure)
    assert figure["samples"] >= 1 and 0 <= figure["clean_samples"] <= figure["samples"]
    assert isinstance(figure["clean"], bool)
    for key in keys - {"clean_samples", "clean"}:
        assert figure[key] > 0, key


def check_document(document):
    assert {"model", "kernels", "threads", "options", "machine", "work", "memory"} <= set(document)
    assert document["options"] == {
        "prompt": 32, "output": 4, "requests": 2, "adapters": 2, "rank": 4, "exact": False, "depth": 0,
    }  # fmt: skip
    assert all(value > 0 for value in document["work"].values())
    assert all(value > 0 for value in document["memory"].values())
    assert document["machine"]["read_bytes_per_second"] > 0
    check_figure(document["prefill"], RATES)
    for name, rows in (("decode", 1), ("decode_batch", 2), ("decode_adapters", 2)):
        check_figure(document[name], RATES | {"of_read_bandwidth", "of_one_sequence", "bytes"})
        assert document[name]["rows"] == rows
    assert document["decode"]["of_one_sequence"] == pytest.approx(1)
    mixed = document["mixed"]
    check_figure(mixed["batch"], RATES)
    check_figure(mixed["one_by_one"], RATES)
    assert mixed["ratio"] > 0 and mixed["answers_equal"] is True
    tax = document["tax"]
    assert tax["rows"] == 2
    check_figure(tax["base"], FIGURE)
    for name in ("all_rows", "one_row", "many", "no_neighbour"):
        check_figure(tax[name], FIGURE | {"of_base"})


def test_all_figures(run_chorus, smollm2):
    result = run_chorus("bench", smollm2, *SMALL, *TWO, "--json", timeout=300)
    assert result.rc == 0, result.stderr
    check_document(json.loads(result.stdout))


def test_table_and_one_part(run_chorus, tiny_gguf):
    result = run_chorus("bench", tiny_gguf, *SMALL, *TWO, "--only", "prefill,mixed", "--threads", "2")
    assert result.rc == 0, result.stderr
    assert "prefill of 32 tokens" in result.stdout and "answers equal" in result.stdout
    assert "decode" not in result.stdout and "no adapter" not in result.stdout


def test_without_adapters(run_chorus, tiny_gguf):
    result = run_chorus("bench", tiny_gguf, *SMALL, "--adapters", "0", "--only", "mixed,tax", "--json")
    assert result.rc == 0, result.stderr
    document = json.loads(result.stdout)
    assert "mixed" in document and not {"tax", "prefill", "decode", "decode_adapters"} & set(document)
    assert document["memory"]["adapter_bytes"] == 0


def test_how_the_machine_computes_it(run_chorus, tiny_gguf):
    """The flags of other commands with a model: keys and values, adapters and threads follow them."""

    def document(*flags):
        small = ("--prompt", "32", "--output", "4", "--requests", "2", "--adapters", "2", "--rank", "64")
        result = run_chorus("bench", tiny_gguf, *small, "--only", "tax", "--json", *flags)
        assert result.rc == 0, result.stderr
        return json.loads(result.stdout)

    plain, exact, bound = document("--kv-type", "f16"), document("--exact"), document("--cpus", "0")
    wide = document("--kv-type", "f32")
    per_position = [part["work"]["kv_bytes_per_position"] for part in (plain, wide)]
    assert per_position[1] == 2 * per_position[0]
    assert (plain["options"]["exact"], exact["options"]["exact"]) == (False, True)
    assert exact["memory"]["adapter_bytes"] > plain["memory"]["adapter_bytes"]
    assert bound["threads"] == 1


def test_the_packed_model_is_kept(run_program, chorus, smollm2, tmp_path):
    command = ["/usr/bin/env", f"CHORUS_CACHE={tmp_path}", chorus, "bench", smollm2, *SMALL, *TWO, "--only", "prefill", "--json"]
    packed = tmp_path / "packed"
    assert run_program([*command, "--no-cache"], timeout=120).rc == 0
    assert not packed.exists()
    assert run_program(command, timeout=120).rc == 0
    assert len(list(packed.iterdir())) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--adapters", "-1"),
        ("--kv-type", "f8"),
        ("--rank", "0"),
        ("--output", "1"),
        ("--requests", "many"),
        ("--only", "everything"),
        ("--threads", "-1"),
        ("--no-such-flag",),
    ],
)
def test_bad_flags(run_chorus, flags):
    result = run_chorus("bench", "no-such-model", *flags)
    assert (result.rc, result.stdout) == (2, "")
    assert flags[0] in result.stderr


def test_requests_beyond_the_context(run_chorus, tiny_gguf):
    result = run_chorus("bench", tiny_gguf, "--prompt", "100000")
    assert (result.rc, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1 and "100100 tokens" in result.stderr
