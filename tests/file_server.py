"""An HTTP server for tests that misbehaves as it is told."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Served:
    """What is served at one path, and how.

    Attributes:
        content: the body.
        version: sent as ETag; "" sends none.
        ranges: whether Range is understood.
        blind: whether If-Range is not.
        breaks: of the coming answers, after how many bytes the line goes dead.
        states: of the coming answers, HTTP states to give instead of the content.
        reason: said beside such a state; "" for the usual one.
        length: what Content-Length says, instead of the truth; -1 sends none.
        seconds: before the answer.
        headers: sent besides, or instead of those that were right.
        posted: makes the answer to a POST of its body.
    """

    content: bytes = b""
    version: str = '"1"'
    ranges: bool = True
    blind: bool = False
    breaks: list[int] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    reason: str = ""
    length: int | None = None
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    posted: Callable[[bytes], bytes] | None = None


@dataclass
class Server:
    """Where it is, what it serves by path, and the requests that came: (path, headers)."""

    address: str
    served: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self) -> list[str]:
        return [headers.get("Range", "") for _, headers in self.requests]


@contextmanager
def serving(identity: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """A running server on this machine.

    Args:
        identity: certificate and key, to serve by https.
    """
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers)))
            served = server.served.get(self.path, Served(states=[404]))
            stopping.wait(served.seconds)
            if served.states:
                self.send_response(served.states.pop(0), served.reason or None)
                self.send_headers(served.headers, 0)
                return
            start = self.wanted_start(served)
            body = served.content[start:]
            self.send_response(206 if start else 200)
            headers = dict(served.headers)
            if served.version:
                headers["ETag"] = served.version
            if start:
                total = len(served.content)
                headers.setdefault("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.send_headers(headers, len(body) if served.length is None else served.length)
            self.wfile.write(body[: served.breaks.pop(0)] if served.breaks else body)

        def do_POST(self) -> None:
            server.requests.append((self.path, dict(self.headers)))
            served = server.served.get(self.path, Served(states=[404]))
            question = self.rfile.read(int(self.headers["Content-Length"]))
            body = served.posted(question) if served.posted else b""
            self.send_response(200 if served.posted else 404)
            self.send_headers(served.headers, len(body))
            self.wfile.write(body)

        def wanted_start(self, served: Served) -> int:
            wanted = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
            changed = self.headers.get("If-Range", served.version) != served.version
            return int(wanted) if wanted and served.ranges and (served.blind or not changed) else 0

        def send_headers(self, headers: dict[str, str], length: int) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            if length >= 0:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            pass  # a client that hangs up is no news

    with Quiet(("127.0.0.1", 0), Handler) as http:
        scheme = "http"
        if identity:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*identity)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        server = Server(f"{scheme}://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield server
        stopping.set()
        http.shutdown()
        thread.join()
