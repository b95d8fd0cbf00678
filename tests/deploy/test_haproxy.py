"""deploy/haproxy with Debian's HAProxy and three servers: adapters stay on their servers, which may go and come."""

import collections
import http.client
import os
import shutil
import subprocess

import pytest
import requests

from cluster import CONFIG, PATH, Cluster
from conftest import FLEET
from harness import wait_for
from variants import write_variant

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="no haproxy")
MODELS = ["base", *FLEET]


@pytest.fixture(scope="module")
def running(chorus, tiny_chat, fleet_directory, tmp_path_factory):
    cluster = Cluster(chorus, tiny_chat, fleet_directory, tmp_path_factory.mktemp("haproxy"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(running):
    """All three run; each test may end them."""
    running.wait_up()
    yield running
    assert running.proxy.poll() is None, (running.log.seek(0), running.log.read())


def body_of(model, tokens=8):
    body = {"model": model, "prompt": "Hello", "max_tokens": tokens, "temperature": 0}
    return body | {"ignore_eos": True, "stream": True}


def homes(cluster, times=1):
    """{adapter: its replica}, by asking for each so often. One connection: the next request comes when HAProxy has
    counted the last as ended, so that no replica seems loaded."""
    before = cluster.requests_of()
    order = [MODELS[(i + round) % len(MODELS)] for round in range(times) for i in range(len(MODELS))]
    with requests.Session() as session:
        session.trust_env = False
        for model in order:
            answer = session.post(cluster.url + PATH, json=body_of(model) | {"stream": False}, timeout=60)
            assert answer.status_code == 200, answer.text
    found = {model: where for model, where in cluster.since(before).items() if where}
    assert set(found) == set(MODELS)
    assert all(len(where) == 1 for where in found.values()), found
    return {model: where.pop() for model, where in found.items()}


def test_the_file_is_right(cluster):
    done = subprocess.run(["haproxy", "-c", "-f", CONFIG], env=cluster.environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr and "ALERT" not in done.stderr, done.stderr


def test_an_adapter_stays_on_one_replica(cluster):
    where = homes(cluster, 4)
    shares = collections.Counter(where.values())
    assert set(shares) == {0, 1, 2} and max(shares.values()) < 2 * len(MODELS) / 3, shares


def load(count):
    """A mixed sequence of streams, long enough that many run at any time."""
    return [body_of(MODELS[i % len(MODELS)], 340 + 10 * (i % 7)) for i in range(count)]


def check_texts(results):
    """An adapter says the same wherever it runs: the shorter answers are beginnings of the longest."""
    texts = collections.defaultdict(list)
    for _, body, answer in results:
        if answer.whole():
            assert {event["model"] for event in answer.events} == {body["model"]}
            texts[body["model"]].append(answer.text)
    for model, own in texts.items():
        assert all(max(own, key=len).startswith(text) for text in own), model
    assert len({max(own, key=len)[:20] for own in texts.values()}) > len(texts) / 2


def summary(results):
    return [(a.status, a.broken, a.finishes, a.errors, a.body) for _, _, a in results if not a.whole()][:3]


def once(cluster, results):
    """Each was answered by 200 once, and refused at most on the way there."""
    logged = cluster.answered()
    for name, _, _ in results:
        assert [status for _, status in logged[name]].count(200) == 1, (name, logged[name])
    return logged


def test_an_adapter_on_some_replicas_only(cluster, fleet_directory, tiny_adapters):
    """A replica that does not have it yet says 404, and another is asked."""
    folder = write_variant(tiny_adapters["qv"], fleet_directory / ".late" / "late", 77)
    for number in (0, 2):
        load = {"lora_name": "late", "lora_path": str(folder)}
        assert cluster.replicas[number].post("/v1/load_lora_adapter", load).status_code == 200
    for model in ("late", *(f"late@0.{i}" for i in range(1, 10))):
        results = cluster.ask([body_of(model)], 1)
        assert results[0][2].whole(), (model, summary(results))
    refused = cluster.ask([body_of("nobody")], 1)[0][2]
    assert refused.status == 404 and b"does not exist" in refused.body
    for number in (0, 2):
        assert cluster.replicas[number].post("/v1/unload_lora_adapter", {"lora_name": "late"}).status_code == 200


def test_load_loses_nothing(cluster):
    results = cluster.ask(load(300), 48)
    assert all(answer.whole() for _, _, answer in results), summary(results)
    check_texts(results)
    logged = once(cluster, results)
    assert {logged[name][0][0] for name, _, _ in results} == {0, 1, 2}


def test_a_replica_is_killed(cluster):
    """Its running streams break; what it had not begun to answer is answered by another; other adapters stay."""
    before = homes(cluster)
    dead = before["voice07"]

    def kill_while_busy():
        cluster.stop_amid_answers(dead)
        cluster.kill(dead)

    results = cluster.ask(load(300), 48, kill_while_busy, after=60)
    lost = [(name, body, answer) for name, body, answer in results if not answer.whole()]
    assert 0 < len(lost) <= 16, summary(results)
    logged = cluster.answered()
    for name, _, answer in lost:
        assert answer.status == 200 and answer.events and answer.broken, summary(lost)
        assert not logged[name], logged[name]
    check_texts(results)
    after = homes(cluster)
    assert dead not in after.values()
    assert all(after[model] == home for model, home in before.items() if home != dead)


def test_a_replica_drains(cluster):
    """Nothing at all is lost, and it ends well."""
    before, statuses = homes(cluster), []
    leaving = before["voice07"]
    results = cluster.ask(load(300), 48, lambda: statuses.append(cluster.drain(leaving)), after=60)
    assert all(answer.whole() for _, _, answer in results), summary(results)
    assert statuses == [0]
    once(cluster, results)
    check_texts(results)
    assert all(homes(cluster)[model] == home for model, home in before.items() if home != leaving)


def test_a_replica_is_added(cluster):
    """One that was down comes back amid the load: nothing is lost, and its adapters return to it."""
    before = homes(cluster)
    missing = before["voice07"]
    cluster.kill(missing)
    wait_for(lambda: cluster.states()[missing] == "DOWN", 10)
    results = cluster.ask(load(300), 48, lambda: cluster.start(missing), after=20)
    assert all(answer.whole() for _, _, answer in results), summary(results)
    logged = once(cluster, results)
    assert any((missing, 200) in logged[name] for name, _, _ in results)
    check_texts(results)
    cluster.wait_up()
    assert homes(cluster) == before


def test_a_hot_adapter_spills_over(cluster):
    """Alone it would leave two replicas idle."""
    before = cluster.requests_of()
    results = cluster.ask([body_of("voice03", 340) for _ in range(40)], 40)
    assert all(answer.whole() for _, _, answer in results), summary(results)
    assert len(cluster.since(before)["voice03"]) > 1


def where_went(cluster, body, **headers):
    """The replica that a body went to, as its access log says, whatever it answered."""
    name = f"one-{os.urandom(4).hex()}"
    headers |= {"Content-Type": "application/json", "X-Request-Id": name}
    answer = requests.post(cluster.url + PATH, body, headers=headers, timeout=30)
    assert answer.status_code in (200, 400), answer.text
    return wait_for(lambda: cluster.answered()[name], 5)[0][0]


def test_what_names_the_adapter(cluster):
    home = homes(cluster)
    first, other = "voice07", next(m for m in FLEET if home[m] != home["voice07"])
    long = "x" * 500_000
    place = lambda text, **headers: where_went(cluster, text, **headers)
    for size in (300_000, 900_000):
        assert place('{"prompt":"%s","model":"%s"}' % ("x" * size, first)) == home[first]
        assert place('{"prompt":"%s","model":"%s"}' % ("x" * size, other)) == home[other]
    nested = '{"messages":[{"model":"%s"}],"model":"%s","prompt":"a","max_tokens":1}'
    assert place(nested % (other, first)) == home[first]
    for model in (first, other):  # longer than HAProxy's buffer
        assert place('{"model":"%s","prompt":"%s"}' % (model, 3 * long)) == home[model]
        for _ in range(3):
            assert place('{"prompt":"%s","model":"%s"}' % (3 * long, model), **{"X-Adapter": model}) == home[model]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/v1/adapters/pin",
        "/lora-adapters",
        "/v1/load%5Flora_adapter",
        "/lora%2dadapters",
        "/lora-adapters?x=1",
    ],
)
def test_what_would_reach_one_replica_only(cluster, path):
    """However its path is written; HAProxy answers itself."""
    body, name = b'{"lora_name":"voice01"}', f"change-{os.urandom(4).hex()}"
    headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "X-Request-Id": name}
    link = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=30)  # it sends the path as it is
    link.request("POST", path, body, headers)
    assert link.getresponse().status == 403
    link.close()
    assert not cluster.answered().get(name)
