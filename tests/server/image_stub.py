"""An image engine that draws nothing worth looking at: both dialects, and everything that can go wrong with them."""

import base64
import hashlib
import http.server
import json
import struct
import threading
import time
import zlib


def png(width, height, rgb):
    """A picture of one colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes(rgb) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


class ImageEngine:
    """Listens on a port of its own. `dialect` is "sdapi" or "openai"; `trouble` says what is wrong with the next
    answers, `seconds` how long a picture takes."""

    def __init__(self, dialect="sdapi", port=0):
        self.dialect, self.trouble, self.seconds = dialect, None, 0
        self.requests, self.headers, self.interrupts, self.drawing = [], [], 0, 0
        self.tells_progress, self.step = True, 0
        self.stopped = threading.Event()
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                engine.told(self)

            def do_POST(self):
                length = self.headers["Content-Length"]
                assert length is not None
                engine.asked(self, self.rfile.read(int(length)))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def port(self):
        return self.server.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def answer(handler, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def told(self, handler):
        path = handler.path.split("?")[0]
        if self.trouble == "key":
            self.answer(handler, 401, {"detail": "Not authenticated"})
        elif self.dialect == "sdapi" and path == "/sdapi/v1/options":
            self.answer(handler, 200, {"sd_model_checkpoint": "stub-xl"})
        elif self.dialect == "openai" and path == "/v1/models":
            self.answer(handler, 200, {"data": [{"id": "stub-ai"}]})
        elif self.dialect == "sdapi" and path == "/sdapi/v1/progress" and self.tells_progress:
            state = {"sampling_step": self.step, "sampling_steps": 10}
            self.answer(handler, 200, {"progress": self.step / 10, "state": state, "current_image": None})
        else:
            self.answer(handler, 404, {"detail": "Not Found"})

    def asked(self, handler, body):
        if handler.path == "/sdapi/v1/interrupt" and self.dialect == "sdapi":
            self.interrupts += 1
            return self.answer(handler, 200, {})
        wanted = {"sdapi": "/sdapi/v1/txt2img", "openai": "/v1/images/generations"}[self.dialect]
        if handler.path != wanted:
            return self.answer(handler, 404, {"detail": "Not Found"})
        request = json.loads(body)
        self.requests.append(request)
        self.headers.append(dict(handler.headers))
        self.drawing += 1
        try:
            self.draw(handler, request)
        except OSError:
            pass  # the client has gone
        finally:
            self.drawing -= 1

    def draw(self, handler, request):
        interrupts, end = self.interrupts, time.monotonic() + self.seconds
        for self.step in range(1, 11):
            while time.monotonic() < end - self.seconds * (10 - self.step) / 10:
                if self.stopped.is_set() or self.interrupts > interrupts:
                    break
                time.sleep(0.01)
        if self.trouble == "cut":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{\"images\"")
            handler.wfile.flush()
            handler.connection.close()
        elif self.trouble == "page":
            self.answer(handler, 200, b"<html>Hello</html>", "text/html")
        elif self.trouble == "error":
            self.answer(handler, 500, {"error": "server_error", "message": "out of\nmemory"})
        elif self.trouble == "validation":
            self.answer(handler, 422, {"detail": "steps: too many"})
        else:
            self.answer(handler, 200, self.picture(request))

    def picture(self, request):
        if "size" in request:
            width, height = map(int, request["size"].split("x"))
        else:
            width, height = request["width"], request["height"]
        if self.trouble == "huge":
            width = 100_000_000
        colour = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).digest()[:3]
        data = png(width if width < 5000 else 1, height, colour)
        if self.trouble == "huge":
            data = data[:16] + struct.pack(">I", width) + data[20:]
        text = base64.b64encode(data).decode()
        text = {"base64": "!!!" + text, "text": base64.b64encode(b"no picture").decode()}.get(self.trouble, text)
        if self.dialect == "sdapi":
            return {"images": [] if self.trouble == "none" else [text], "parameters": request, "info": ""}
        if self.trouble == "address":
            return {"created": 1, "data": [{"url": "http://127.0.0.1:1/picture.png"}]}
        return {"created": 1, "data": [{"b64_json": text}]}
