"""Fine-tuning beside serving, with OpenAI's own client: files, jobs, events, checkpoints, cancel; what a restart goes on
with; what the running server makes of the results."""

import concurrent.futures
import hashlib
import json
import random
import signal
import subprocess
import time

import openai
import pytest

from harness import error_of, wait_for

WORDS = "the fox and owl met at dawn by an old mill".split()
LORA = {"rank": 4, "dropout": 0.1, "learning_rate": 5e-3, "eval_every": 5}
ENDED = ("succeeded", "failed", "cancelled")
LONG = 300  # seconds: whoever else works on this machine goes before a job


def records(seed=1, count=40):
    draw = random.Random(seed)
    for _ in range(count):
        question, answer = " ".join(draw.choices(WORDS, k=3)), f"so said {draw.choice(WORDS)}"
        yield {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def lines(seed=1, count=40):
    return "".join(json.dumps(record) + "\n" for record in records(seed, count)).encode()


def client_of(server, key="none"):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def tuning(start_tiny, tmp_path_factory):
    """A server that tunes."""
    return start_tiny("--tune-dir", tmp_path_factory.mktemp("tune"))


@pytest.fixture(scope="module")
def client(tuning):
    return client_of(tuning)


def upload(client, content=None, name="elf.jsonl"):
    return client.files.create(file=(name, content or lines()), purpose="fine-tune")


def start(client, file, **fields):
    hyperparameters = fields.pop("hyperparameters", {"n_epochs": 2, "batch_size": 4})
    return client.fine_tuning.jobs.create(
        model="base",
        training_file=file.id,
        seed=fields.pop("seed", 1),
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        extra_body={"lora": {**LORA, **fields.pop("lora", {})}},
        **fields,
    )


def wait_end(client, job, seconds=LONG):
    return wait_for(lambda: (now := client.fine_tuning.jobs.retrieve(job.id)).status in ENDED and now, seconds)


def endless(client, file, **fields):
    """A job that would take hours."""
    return start(client, file, hyperparameters={"n_epochs": 10000, "batch_size": 1}, **fields)


def running(client, job):
    def is_running():
        now = client.fine_tuning.jobs.retrieve(job.id)
        assert now.status not in ENDED, now.error
        return now.status == "running"

    wait_for(is_running, LONG)


@pytest.fixture(scope="module")
def elf(client):
    """A job that is done."""
    job = start(client, upload(client), suffix="elf", metadata={"who": "test"})
    done = wait_end(client, job)
    assert done.status == "succeeded", done.error
    return done


def test_files(client):
    file = upload(client, name="../../etc/pass wd\n.jsonl")
    assert file.object == "file" and file.purpose == "fine-tune" and file.status == "processed"
    assert file.bytes == len(lines()) and "\n" not in file.filename
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == lines()
    assert file.id in [one.id for one in client.files.list()]
    assert file.id in [one.id for one in client.files.list(purpose="fine-tune", order="asc", limit=1)]  # all pages
    assert file.id not in [one.id for one in client.files.list(purpose="fine-tune-results")]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(file.id)


def test_files_that_are_refused(client, tuning):
    for purpose in ("batch", "fine-tune "):
        with pytest.raises(openai.BadRequestError, match="purpose"):
            client.files.create(file=("a.jsonl", b"x"), purpose=purpose)
    with pytest.raises(openai.BadRequestError, match="file"):
        client.files.create(file=("a.jsonl", b""), purpose="fine-tune")
    post = lambda body, kind: tuning.session.post(  # noqa: E731
        tuning.url + "/v1/files", data=body, headers={"Content-Type": kind}, timeout=10
    )
    form = "multipart/form-data; boundary=X"
    head = b'--X\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    for body, kind in (
        (b"", form),
        (b"--X", form),
        (b"--X\r\n", form),
        (head, form),
        (head + b"--X--", form),
        (head + b"--X\r\nno header\r\n\r\nx\r\n--X--", form),
        (b"--Xjunk\r\n\r\n--X--", form),
        (head * 20 + b"--X--", form),
        (head + b'--X\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--X--', form),
        (b"--X\r\n" + b"a: b\r\n" * 2000, form),
        (head, "multipart/form-data; boundary=" + "X" * 1000),
    ):
        error_of(post(body, kind), 400, "invalid_request_error")
    assert tuning.alive()


def test_a_job(client, tuning, elf):
    assert elf.object == "fine_tuning.job" and elf.id.startswith("ftjob-") and elf.model == "base"
    assert elf.fine_tuned_model == "elf" and elf.error is None and elf.seed == 1 and elf.metadata == {"who": "test"}
    assert elf.created_at <= elf.finished_at <= time.time() and elf.estimated_finish is None
    assert elf.trained_tokens > 500 and elf.hyperparameters.n_epochs == 2 and elf.hyperparameters.batch_size == 4
    assert elf.method.supervised.hyperparameters.n_epochs == 2
    assert elf.lora["rank"] == 4 and elf.lora["learning_rate"] == 5e-3
    events = list(client.fine_tuning.jobs.list_events(elf.id, limit=2))  # all pages
    assert len({event.id for event in events}) == len(events) >= 5
    assert events[0].message == "The job has successfully completed"
    assert [e.created_at for e in events] == sorted((e.created_at for e in events), reverse=True)
    losses = [event.data["valid_loss"] for event in events if event.type == "metrics" and "valid_loss" in event.data]
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(elf.id, limit=1))
    assert [c.metrics.valid_loss for c in checkpoints] == losses
    steps = [checkpoint.step_number for checkpoint in checkpoints]
    assert steps == sorted(steps, reverse=True) and set(steps) >= {5, 10, 15} and losses[0] < losses[-1] - 0.5
    assert all(c.fine_tuned_model_checkpoint == f"elf@{c.step_number}" for c in checkpoints)
    assert elf.id in [job.id for job in client.fine_tuning.jobs.list(limit=1)]
    numbered = [entry["name"] for entry in tuning.get("/lora-adapters").json()]
    assert "elf" in numbered and not any("@" in name for name in numbered)


def test_the_result_is_in_use(client, tuning, elf):
    """The adapter, and its newest steps by NAME@STEP: alone, in a mix, beside others."""
    newest = max(c.step_number for c in client.fine_tuning.jobs.checkpoints.list(elf.id))
    models = set(tuning.models())
    assert {"elf", f"elf@{newest}"} <= models and sum(m.startswith("elf@") for m in models) == 3
    names = ["base", "elf", f"elf@{newest}", f"elf@{newest - 5}", "elf@0.5", f"elf@{newest}@0.5", f"elf@{newest}+elf@0.5"]
    texts = {}
    for name in names:
        answer = tuning.post("/v1/completions", {"model": name, "prompt": "the fox", "max_tokens": 24, "temperature": 0})
        assert answer.status_code == 200, (name, answer.text)
        texts[name] = answer.json()["choices"][0]["text"]
        if name.startswith(f"elf@{newest}"):
            assert f"elf@{newest}" in answer.headers["x-adapter-id"]
    assert texts["elf"] != texts["base"]
    beside = tuning.text("the fox", "base", max_tokens=24, adapters=[{"name": f"elf@{newest}", "scale": 1}])
    assert beside == texts[f"elf@{newest}"]
    for unknown in ("elf@5000", "elf@x", "nobody@5", "elf@"):
        error_of(tuning.post("/v1/completions", {"model": unknown, "prompt": "x"}), 404 if unknown != "elf@5000" else 404)


def results_of(client, job):
    files = [client.files.retrieve(file) for file in job.result_files]
    assert all(file.purpose == "fine-tune-results" for file in files)
    return {file.filename: client.files.content(file.id).read() for file in files}


def test_the_bytes_are_those_of_the_command(client, elf, run_chorus, tiny_chat, tmp_path):
    results = results_of(client, elf)
    assert set(results) == {"adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "loss.svg"}
    (tmp_path / "elf.jsonl").write_bytes(lines())
    flags = ("--batch", 4, "--lr", "5e-3", "--rank", 4, "--dropout", "0.1", "--eval-every", 5, "--epochs", 2)
    tuned = run_chorus("tune", tiny_chat, tmp_path / "elf.jsonl", "-o", tmp_path / "out", *flags)
    assert tuned.rc == 0, tuned.stderr
    for name in ("adapter_model.safetensors", "metrics.jsonl", "loss.svg"):
        assert hashlib.sha256(results[name]).digest() == hashlib.sha256((tmp_path / "out" / name).read_bytes()).digest(), name


def test_one_after_the_other_and_cancel(client, tuning):
    file = upload(client)
    first, second = endless(client, file, suffix="first"), start(client, file, suffix="second")
    running(client, first)
    assert client.fine_tuning.jobs.retrieve(second.id).status == "queued"
    now = wait_for(lambda: (job := client.fine_tuning.jobs.retrieve(first.id)).estimated_finish and job, LONG)
    assert now.estimated_finish > time.time() and now.trained_tokens is None
    with pytest.raises(openai.BadRequestError, match="needs this file"):
        client.files.delete(file.id)
    wait_for(lambda: "first@5" in tuning.models() or "first@10" in tuning.models(), LONG)
    cancelled = client.fine_tuning.jobs.cancel(first.id)
    assert cancelled.status == "cancelled" and cancelled.fine_tuned_model is None
    assert wait_end(client, second).status == "succeeded"
    assert client.fine_tuning.jobs.retrieve(first.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="has ended"):
        client.fine_tuning.jobs.cancel(first.id)
    assert "first" not in tuning.models() and any(name.startswith("first@") for name in tuning.models())
    for job in (first, second):
        assert tuning.session.delete(f"{tuning.url}/v1/fine_tuning/jobs/{job.id}", timeout=10).status_code == 200
    assert not any(name.startswith(("first", "second")) for name in tuning.models())
    assert client.files.delete(file.id).deleted


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"model": "nobody"}, "model"),
        ({"model": "elf@1"}, "model"),
        ({"model": "elf"}, "model"),
        ({"model": 5}, "model"),
        ({"training_file": "file-none"}, "training_file"),
        ({"training_file": None}, "training_file"),
        ({"validation_file": "../job.json"}, "validation_file"),
        ({"suffix": "a/b"}, "suffix"),
        ({"suffix": "base"}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 1.5}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": -1}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"rank": 4}}, "hyperparameters.rank"),
        ({"hyperparameters": [4]}, "hyperparameters"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"method": {"type": "supervised", "supervised": {"x": 1}}}, "method.supervised.x"),
        ({"lora": {"rank": 0}}, "lora.rank"),
        ({"lora": {"rank": True}}, "lora.rank"),
        ({"lora": {"ranks": 4}}, "lora.ranks"),
        ({"lora": {"targets": "nothing"}}, "lora"),
        ({"lora": {"layers": "99"}}, "lora"),
        ({"lora": {"schedule": "sinus"}}, "lora.schedule"),
        ({"lora": {"moments": 16}}, "lora.moments"),
        ({"lora": {"seed": 1}}, "lora.seed"),
        ({"lora": {"learning_rate": 1e-3}, "hyperparameters": {"learning_rate_multiplier": 2}}, "lora.learning_rate"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"n_epochs": 3}, "n_epochs"),
    ],
)
def test_jobs_that_are_refused(client, tuning, elf, fields, param):
    body = {"model": "base", "training_file": elf.training_file, **fields}
    before = len(client.fine_tuning.jobs.list(limit=100).data)
    answer = tuning.post("/v1/fine_tuning/jobs", body)
    assert error_of(answer, answer.status_code)["param"] == param and answer.status_code in (400, 404)
    assert len(client.fine_tuning.jobs.list(limit=100).data) == before


def test_a_name_that_is_taken(client, tuning, elf):
    for name in ("elf",):
        with pytest.raises(openai.BadRequestError, match="another suffix"):
            start(client, upload(client), suffix=name)


def test_lists_and_paths_that_are_refused(tuning, elf):
    jobs = "/v1/fine_tuning/jobs"
    for path in (f"{jobs}?limit=0", f"{jobs}?limit=x", f"{jobs}?after=ftjob-none", f"{jobs}?x=1", "/v1/files?order=up"):
        error_of(tuning.get(path), 400)
    for path in (f"{jobs}/ftjob-none", f"{jobs}/{elf.id}/else", f"{jobs}/{elf.id}/", "/v1/files/file-none", "/v1/files/x/content"):
        error_of(tuning.get(path), 404)
    error_of(tuning.post(f"{jobs}/{elf.id}"), 404)
    error_of(tuning.post(f"{jobs}/ftjob-none/cancel"), 404)


def test_bad_data_fails_the_job(client, tuning):
    """With the reason, the client's own line, and no path of the server's."""
    for content in (b"\x00\x01\x02", b'{"a": 1}\n', b'{"messages": [{"role": "user", "content": "hi"}]}\n'):
        failed = wait_end(client, start(client, upload(client, content), suffix="bad"))
        assert failed.status == "failed" and failed.error.code == "job_failed" and failed.fine_tuned_model is None
        assert "training file" in failed.error.message and "/" not in failed.error.message.replace("\\/", "")
        events = client.fine_tuning.jobs.list_events(failed.id).data
        assert events[0].level == "error" and failed.error.message in events[0].message
    assert tuning.alive()


def test_a_validation_file(client):
    done = wait_end(client, start(client, upload(client), validation_file=upload(client, lines(2, 8)).id, suffix="split"))
    assert done.status == "succeeded" and done.validation_file
    assert client.fine_tuning.jobs.checkpoints.list(done.id).data


def test_a_restart_goes_on(start_tiny, tmp_path, elf, client):
    """Ended in the middle of a job and by SIGKILL: what comes out is the same, and what was done is still there."""
    file_content, hyperparameters = lines(3, 60), {"n_epochs": 30, "batch_size": 4}
    lora = {"rank": 4, "eval_every": 25}
    whole = wait_end(client, start(client, upload(client, file_content), hyperparameters=hyperparameters, lora=lora, suffix="again"))
    assert whole.status == "succeeded"
    wanted = results_of(client, whole)["adapter_model.safetensors"]

    server = start_tiny("--tune-dir", tmp_path / "tune")
    mine = client_of(server)
    quick = wait_end(mine, start(mine, upload(mine), suffix="quick"))
    job = start(mine, upload(mine, file_content), hyperparameters=hyperparameters, lora=lora, suffix="again")
    running(mine, job)
    wait_for(lambda: mine.fine_tuning.jobs.checkpoints.list(job.id).data, LONG)
    began = time.monotonic()
    assert server.stop() == 0 and time.monotonic() - began < 10

    server = start_tiny("--tune-dir", tmp_path / "tune")
    mine = client_of(server)
    assert mine.fine_tuning.jobs.retrieve(quick.id) == quick
    assert server.text("the fox", "quick") != server.text("the fox", "base")
    running(mine, job)
    assert any("goes on from step" in event.message for event in mine.fine_tuning.jobs.list_events(job.id, limit=100))
    server.process.kill()
    server.process.wait()

    server = start_tiny("--tune-dir", tmp_path / "tune")
    mine = client_of(server)
    done = wait_end(mine, job)
    assert done.status == "succeeded" and results_of(mine, done)["adapter_model.safetensors"] == wanted
    assert server.stop() == 0


def test_requests_go_first(client, tuning):
    """While requests run, training stands still; when they have ended it goes on."""
    job = endless(client, upload(client), suffix="patient")
    running(client, job)
    events = lambda: client.fine_tuning.jobs.list_events(job.id, limit=100).data  # noqa: E731
    steps = lambda: [event.data["step"] for event in events() if "train_loss" in (event.data or {})]  # noqa: E731
    wait_for(steps, LONG)
    body = {"model": "base", "prompt": "the fox", "max_tokens": 400, "ignore_eos": True, "temperature": 0, "n": 8}
    end = time.monotonic() + 4

    def ask(_):
        while time.monotonic() < end:
            assert tuning.post("/v1/completions", body).status_code == 200

    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # two, so that there is always one
        list(pool.map(ask, range(2)))
    last = max(steps())
    wait_for(lambda: max(steps()) > last, LONG)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    waited = wait_for(lambda: [e.message for e in events() if e.message.startswith("Waited")], LONG)
    assert float(waited[0].split()[1]) > 2


def tune_there(run_chorus, server, *arguments):
    return run_chorus("tune", "base", *arguments, "--server", server.url)


COMMAND = ("--batch", 4, "--lr", "5e-3", "--rank", 4, "--dropout", "0.1", "--eval-every", 5, "--epochs", 2)


def test_the_command(client, tuning, run_chorus, tiny_chat, tmp_path):
    """`chorus tune --server` gives what `chorus tune` gives."""
    data = tmp_path / "troll.jsonl"
    data.write_bytes(lines(7))
    there = tune_there(run_chorus, tuning, data, "-o", tmp_path / "there", *COMMAND, "--json")
    assert there.rc == 0, there.stderr
    assert json.loads(there.stdout)["fine_tuned_model"] == "troll" and "troll" in tuning.models()
    assert "validation loss" in there.stderr and "done" in there.stderr
    here = run_chorus("tune", tiny_chat, data, "-o", tmp_path / "here", *COMMAND)
    assert here.rc == 0, here.stderr
    files = {"adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "loss.svg"}
    assert {path.name for path in (tmp_path / "there").iterdir()} == files
    for name in files - {"adapter_config.json"}:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name
    used = run_chorus("run", tiny_chat, "--adapter", f"troll={tmp_path / 'there'}", "--use", "troll", "-p", "the fox")
    assert used.rc == 0, used.stderr
    again = tune_there(run_chorus, tuning, data, "-o", tmp_path / "again", *COMMAND)
    assert again.rc == 1 and "another suffix" in again.stderr and again.stderr.count("\n") == 1
    two = tune_there(run_chorus, tuning, data, data, "--suffix", "x", "-o", tmp_path / "two")
    assert two.rc == 1 and "--suffix" in two.stderr


def test_the_command_is_interrupted(client, tuning, chorus, tmp_path):
    """Ctrl-C cancels the job."""
    data = tmp_path / "long.jsonl"
    data.write_bytes(lines())
    command = [chorus, "tune", "base", data, "-o", tmp_path / "out", "--server", tuning.url, "--epochs", 10000, "--batch", 1]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (jobs := client.fine_tuning.jobs.list(limit=1).data) and jobs[0].status == "running", LONG)
        job = client.fine_tuning.jobs.list(limit=1).data[0]
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and f"the job {job.id} is cancelled" in errors
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags, why",
    [
        (("--server", "127.0.0.1:8080"), "http://"),
        (("--server", "http://"), "http://"),
        (("--server", "http://127.0.0.1:1"), "Connection refused"),
        (("--server", "http://127.0.0.1:8080", "--resume"), "excludes"),
        (("--suffix", "x"), "--server"),
    ],
)
def test_the_command_refuses(run_chorus, tmp_path, flags, why):
    data = tmp_path / "a.jsonl"
    data.write_bytes(lines())
    result = run_chorus("tune", "base", data, "-o", tmp_path / "out", *flags)
    assert result.rc in (1, 2) and why in result.stderr


def test_without_a_directory(server):
    for answer in (server.get("/v1/files"), server.get("/v1/fine_tuning/jobs"), server.post("/v1/fine_tuning/jobs", {})):
        assert "--tune-dir" in error_of(answer, 501)["message"]


def test_one_server_a_directory(start_tiny, tmp_path):
    first = start_tiny("--tune-dir", tmp_path)
    with pytest.raises(AssertionError, match="another server"):
        start_tiny("--tune-dir", tmp_path)
    assert first.stop() == 0


def test_the_admin_key(start_tiny, tmp_path):
    (tmp_path / "user").write_text("user-key-0123456789\n")
    (tmp_path / "admin").write_text("admin-key-0123456789\n")
    server = start_tiny("--tune-dir", tmp_path / "tune", "--api-key-file", tmp_path / "user", "--admin-key-file", tmp_path / "admin")
    with pytest.raises(openai.PermissionDeniedError):
        client_of(server, "user-key-0123456789").files.list()
    with pytest.raises(openai.AuthenticationError):
        client_of(server, "none").fine_tuning.jobs.list()
    assert client_of(server, "admin-key-0123456789").fine_tuning.jobs.list().data == []
    assert server.stop() == 0
