"""The drawing pad: a page, served to this machine alone, on which one draws a digit and sees it read."""

import contextlib
import io
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import cli

from PIL import Image

PAGE = Path(__file__).with_suffix(".html")
MOST_BYTES = 2**20  # of a picture


def serve(read, port):
    """Serve the page on `port` (0: any that is free) until Ctrl-C. Raises cli.UserError where it cannot be had.

    `read` takes a PIL.Image and returns a dict for each digit in it, or raises cli.UserError: "seen", 28 rows of 28
    pixels, "probabilities", and, if the network has any, "beliefs", the probabilities after each row.
    """
    with Server(read, port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"Draw at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends this)", flush=True)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """A server with a thread for each connection: browsers also open some that they never use."""

    allow_reuse_address = os.name != "nt"  # at once after a restart; Windows would share a port that is in use

    def __init__(self, read, port):
        self.read = read
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            raise cli.UserError(f"--port {port}: {error.strerror}; name another, or 0 for any free one") from None


class Handler(BaseHTTPRequestHandler):
    """Send the page, and what `read` says of the pictures that come from it."""

    def do_GET(self):
        self.answer("text/html; charset=utf-8", PAGE.read_bytes())

    def do_POST(self):
        # The page of another site may send a form's types here. For image/png its browser first asks whether it may.
        if self.headers["Content-Type"] != "image/png":
            return self.send_error(415, "expected a picture of type image/png")
        length = int(self.headers["Content-Length"] or 0)
        if not 0 < length <= MOST_BYTES:
            return self.send_error(413, f"expected a picture of at most {MOST_BYTES:,} bytes")
        try:
            picture = Image.open(io.BytesIO(self.rfile.read(length)), formats=["PNG"])
            answer = {"digits": self.server.read(picture)}
        except (cli.UserError, OSError) as error:
            answer = {"error": str(error)}
        self.answer("application/json", json.dumps(answer).encode())

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Print no line about each request."""
