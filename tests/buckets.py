"""A real S3 server for tests (moto's, on loopback), and a proxy before it that fails and dawdles as it is told."""

import http.client
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[[int, str, str], int | float | None]
"""(number of the request, method, path) -> a status to answer with (below zero: after passing the request on, whose own
answer is lost), seconds (a float) to wait before passing it on, or None."""

HEADERS_OF_ONE_HOP = ("connection", "transfer-encoding", "content-length", "host", "keep-alive")


@contextmanager
def s3_server() -> Iterator[str]:
    """A server for the length of the block; its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket; its name has three letters at least."""
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")):
        pass


class FaultyProxy:
    """Passes requests on to a server, but for those that ``fault`` says something of.

    Args:
        endpoint: The server.
    """

    def __init__(self, endpoint: str) -> None:
        self.fault: Fault = lambda number, method, path: None
        self.seen: list[tuple[str, str]] = []
        target = endpoint.removeprefix("http://")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with_body = super().handle_one_request
                try:
                    with_body()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def pass_on(self) -> None:
                proxy.seen.append((self.command, self.path))
                told = proxy.fault(len(proxy.seen), self.command, self.path)
                body = self._body()
                if isinstance(told, int) and told > 0:
                    self._answer(told, {}, b"<Error><Code>SlowDown</Code></Error>")
                    return
                if isinstance(told, float):
                    time.sleep(told)
                server = http.client.HTTPConnection(target, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HEADERS_OF_ONE_HOP}
                server.request(self.command, self.path, body=body, headers=headers)
                answer = server.getresponse()
                status, content = answer.status, answer.read()
                self._answer(-told if isinstance(told, int) else status, dict(answer.getheaders()), content)
                server.close()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in HEADERS_OF_ONE_HOP:
                        self.send_header(name, value)
                length = next((v for k, v in headers.items() if k.lower() == "content-length"), "0")
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FaultyProxy":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
