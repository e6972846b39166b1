"""The drawing pad: a page, served to this machine alone, on which one draws a digit and sees it read."""

import contextlib
import io
import json
import re
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import cli

from PIL import Image

PAGE = Path(__file__).with_suffix(".html")
MOST_BYTES, MOST_PIXELS = 2**20, 4_000_000  # of a picture; the page's has 0.94 million pixels
# What the page may load: its own style and script, the answers of this server, and nothing from any other address.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def serve(read, port):
    """Serve the page on `port` (0: any that is free) until Ctrl-C.

    `read` takes a picture (PIL.Image) and returns a dict for each digit in it: "seen", the 28 rows of 28 pixels that
    the network sees, its "probabilities", and, if it has any, its "beliefs", the probabilities after each row. A
    cli.UserError that it raises is shown on the page.

    Raises cli.UserError where the port cannot be had.
    """
    with Server(read, port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"Draw at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends this)", flush=True)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """A thread for each connection, for browsers also open some that they never use; one call of `read` at a time."""

    allow_reuse_address = sys.platform != "win32"  # at once after a restart; Windows would share a port that is in use

    def __init__(self, read, port):
        self.read, self.reading = read, threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise cli.UserError(f"--port {port}: {error.strerror}; name another, or 0 for any free one") from None


class _Handler(BaseHTTPRequestHandler):
    timeout = 20  # seconds without a byte from the browser

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the page was closed
            super().handle()

    def do_GET(self):
        if self.path.partition("?")[0] == "/":
            self._send(200, "text/html; charset=utf-8", PAGE.read_bytes())
        else:
            self._send(404, "text/plain", b"not found")

    def do_POST(self):
        status, answer = self._answer()
        self._send(status, "application/json", json.dumps(answer).encode())

    def _answer(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/read":
            return 404, {"error": "not found"}
        # Another site's page may send a form's types here unasked; for this one its browser asks first, in vain.
        if self.headers.get("Content-Type") != "image/png":
            return 415, {"error": "expected a picture of type image/png"}
        if not re.fullmatch("[0-9]{1,7}", length) or int(length) > MOST_BYTES:
            return 413, {"error": f"expected a picture of at most {MOST_BYTES:,} bytes, its length said"}
        body = io.BytesIO(self.rfile.read(int(length)))
        try:
            image = Image.open(body, formats=["PNG"])
            if image.width * image.height > MOST_PIXELS:
                return 413, {"error": f"expected a picture of at most {MOST_PIXELS:,} pixels"}
            image.load()
        except Exception:  # whatever a decoder raises
            return 400, {"error": "no PNG picture can be read"}
        try:
            with self.server.reading:
                return 200, {"digits": self.server.read(image)}
        except cli.UserError as error:
            return 200, {"error": str(error)}
        except Exception:
            traceback.print_exc()
            return 500, {"error": "the program has a bug; its terminal shows where"}

    def _send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(body))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass
