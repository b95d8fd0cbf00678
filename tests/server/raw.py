"""Bytes to the server and what comes back, without a client library's manners."""

import contextlib
import dataclasses
import http.client
import json
import socket
import struct
import time


@dataclasses.dataclass
class Answer:
    """`status` 0: the server closed without an answer."""

    status: int
    headers: dict
    body: bytes
    seconds: float

    def json(self):
        return json.loads(self.body)

    @property
    def status_code(self):
        return self.status

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


def http_request(method, path, headers, body=b"", version="HTTP/1.1"):
    """The bytes of a request with these headers and no others."""
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def json_request(path, body, *headers):
    """A right POST; `body` as bytes is sent as it is."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fixed = [("Host", "127.0.0.1"), ("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    return http_request("POST", path, [*fixed, *headers], data)


def connect(server, seconds=30):
    sock = socket.create_connection(("127.0.0.1", server.port), seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send(sock, data):
    """As much of it as the server takes: it may answer and close before the end."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)


def receive(sock, method="GET"):
    """The next answer on this connection."""
    start = time.monotonic()
    response = http.client.HTTPResponse(sock, method=method)
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ConnectionError):
        return Answer(0, {}, b"", time.monotonic() - start)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, time.monotonic() - start)


def exchange(server, data, seconds=30, method="GET"):
    """Sends bytes on a connection of their own and reads one answer."""
    with connect(server, seconds) as sock:
        send(sock, data)
        return receive(sock, method)


def closed(sock, seconds):
    """Whether the server closes the connection within this time; what it sends meanwhile is thrown away."""
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def reset(sock):
    """Closes by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
