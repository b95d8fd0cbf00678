#!/usr/bin/env python3
"""What HTTP costs: tokens/s of streams through `chorus serve` beside `chorus batch` on the same requests.

    python3 bench/serve_overhead.py build/release/chorus smollm2 --adapters adapters

Both run the same requests in turn, several times; printed are the medians and their ratio. The batch's figure is its own
summary's, without its start; the server's is from the first request sent to the last stream ended.
"""

import argparse
import json
import pathlib
import re
import selectors
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request


def requests(models, count, tokens):
    prompt = "Tell me what you see from the tower when the fog comes in. "
    return [
        {"model": models[i % len(models)], "prompt": f"{i} {prompt}" * 4, "max_tokens": tokens, "ignore_eos": True,
         "temperature": 0}
        for i in range(count)
    ]  # fmt: skip


def serve_rate(address, bodies):
    """One thread reads all streams and looks only at their ends, to take as little of the processors as a reader can."""
    selector, begun, tokens = selectors.DefaultSelector(), time.monotonic(), 0
    for body in bodies:
        text = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}})
        sock = socket.create_connection(address)
        sock.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(text)}\r\n\r\n{text}".encode())  # fmt: skip
        selector.register(sock, selectors.EVENT_READ, bytearray())
    while selector.get_map():
        for key, _ in selector.select():
            data = key.fileobj.recv(1 << 16)
            key.data.extend(data)
            if b"[DONE]" in key.data[-64:] or not data:
                tokens += int(re.findall(rb'"completion_tokens":(\d+)', key.data)[-1])
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return tokens / (time.monotonic() - begun)


def batch_rate(command, bodies, folder, run):
    lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": body} for i, body in enumerate(bodies)]
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run([*command, folder / "in.jsonl", folder / f"out{run}.jsonl"], capture_output=True, text=True, check=True)
    rate = re.search(r"s: ([\d.]+) tok/s", done.stderr)
    assert rate, done.stderr
    return float(rate[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chorus")
    parser.add_argument("model")
    parser.add_argument("--adapters", required=True)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    models = ["base", *sorted(p.name for p in pathlib.Path(args.adapters).iterdir() if (p / "adapter_config.json").exists())]
    server = subprocess.Popen([args.chorus, "serve", args.model, "--adapters", args.adapters, "--port", "0"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    try:
        address = server.stdout.readline().split()[-1]
        while len(json.load(urllib.request.urlopen(f"{address}/v1/models"))["data"]) < len(models):
            time.sleep(0.1)
        host, port = address.removeprefix("http://").split(":")
        served, batched = [], []
        with tempfile.TemporaryDirectory() as folder:
            batch = [args.chorus, "batch", args.model, "--adapters", args.adapters]
            for run in range(args.repeat):
                # Other prompts each time: what the prefix cache holds would be the server's gain alone.
                bodies = requests(models, args.streams, args.tokens)
                for body in bodies:
                    body["prompt"] = f"{run} {body['prompt']}"
                batched.append(batch_rate(batch, bodies, pathlib.Path(folder), run))
                served.append(serve_rate((host, int(port)), bodies))
    finally:
        server.terminate()
        server.wait(20)
    ratio = statistics.median(a / b for a, b in zip(served, batched))
    print(f"server {statistics.median(served):.0f} tokens/s, batch {statistics.median(batched):.0f} tokens/s, "
          f"ratio of the pairs {ratio:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
