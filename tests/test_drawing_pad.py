import http.client
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import unittest.mock

from common import cli
from common.handwriting import drawing_pad

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

PNG = {"Content-Type": "image/png"}


def read(image):
    """Read a piece of ink as a 1 where it is narrow, else as a 0."""
    ink = np.asarray(image.convert("L")) < 128
    pieces = ndimage.find_objects(ndimage.label(ink)[0])
    if not pieces:
        raise cli.UserError("no digit found")
    found = []
    for rows, columns in sorted(pieces, key=lambda piece: piece[1].start):
        one = columns.stop - columns.start < (rows.stop - rows.start) / 4
        probabilities = [0.1, 0.9] if one else [0.8, 0.2]
        found.append({"seen": np.full((28, 28), 255).tolist(), "probabilities": probabilities + 8 * [0.0]})
    return found


@pytest.fixture
def serving():
    """Return a function that serves the pad with a `read` on a free port, and returns the server."""
    servers = []

    def start(read):
        servers.append(drawing_pad.Server(read, 0))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server, method, path, body=None, headers=PNG):
    """Return the status, the headers and the body of the answer to a request."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def png(box=(45, 20, 55, 80)):
    """Return the bytes of a white picture with a black bar."""
    image = Image.new("L", (100, 100), 255)
    image.paste(0, box)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_picture_is_answered_with_what_read_says_of_it_or_why_it_finds_nothing(serving):
    status, _, body = ask(serving(read), "POST", "/read", png())
    [digit] = json.loads(body)["digits"]
    assert (status, digit["probabilities"][:2]) == (200, [0.1, 0.9])
    status, _, body = ask(serving(read), "POST", "/read", png(box=(0, 0, 0, 0)))
    assert (status, json.loads(body)) == (200, {"error": "no digit found"})


def test_the_page_is_whole_in_itself_and_only_this_machine_reaches_it(serving):
    server = serving(read)
    status, headers, body = ask(server, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert not re.search(rb"https?://|@import|url\(", body)
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(("headers", "status"), [
    ({"Content-Type": "text/plain"}, 415),
    ({}, 415),
    ({**PNG, "Content-Length": str(2**20 + 1)}, 413),
    ({**PNG, "Content-Length": "-1"}, 413),
    ({**PNG, "Transfer-Encoding": "chunked"}, 413),
])
def test_what_the_page_does_not_send_is_refused(serving, headers, status):
    assert ask(serving(lambda image: pytest.fail("was read")), "POST", "/read", None, headers)[0] == status


def test_a_connection_that_is_never_used_blocks_no_other_and_a_port_in_use_is_one_line(serving):
    server = serving(read)
    with socket.create_connection(server.server_address):
        assert ask(server, "POST", "/read", png())[0] == 200
    with pytest.raises(cli.UserError, match=f"--port {server.server_port}"):
        drawing_pad.serve(read, server.server_port)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to send Ctrl-C to one process")
def test_it_prints_its_address_and_ctrl_c_ends_it_quietly():
    code = "from common.handwriting import drawing_pad; drawing_pad.serve(lambda image: [], 0)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=cli.PROJECT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", None)
    assert process.returncode == 0


# In a browser

ZERO = [(280 + 115 * np.sin(angle), 420 - 300 * np.cos(angle)) for angle in np.linspace(0, 6.28, 40)]
ONE = [(800, y) for y in np.linspace(120, 720, 20)]


@pytest.fixture(scope="module")
def chromium():
    """A Chromium, the system's or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, serving):
    """Return a function that opens the pad with a `read`, and returns the page."""

    def go(read, **options):
        page = chromium.new_page(**options)
        page.server, page.requested = serving(read), []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(f"http://127.0.0.1:{page.server.server_port}/")
        return page

    return go


def at(page, x, y):
    """Return the place on the page of a point of the pad, given in the pad's own pixels."""
    box = page.locator("#pad").bounding_box()
    return box["x"] + x * box["width"] / 1120, box["y"] + y * box["height"] / 840


def draw(page, points):
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points:
        page.mouse.move(*at(page, *point))
    page.mouse.up()


def says(page, text):
    page.locator("#status", has_text=re.compile(f"^{text}")).wait_for()


@pytest.mark.browser
def test_what_is_drawn_is_read_and_taken_back_with_buttons_and_keys_and_no_other_address_is_asked(visit):
    page = visit(read)
    says(page, "Draw a digit")
    draw(page, ZERO)
    says(page, "It reads 0.")
    assert page.locator(".bar").count() == 10
    assert page.locator(".best > span").first.inner_text() == "0"
    assert page.locator(".answer").inner_text() == "0 80.0 %"
    button, press = page.get_by_role, page.keyboard.press
    for undo, clear in (
        (button("button", name="Undo").click, button("button", name="Clear").click),
        (lambda: press("Control+z"), lambda: press("Escape")),
    ):
        draw(page, ONE)
        says(page, "It reads 0 1.")
        assert page.locator(".digit").count() == 2
        undo()
        says(page, "It reads 0.")
        clear()
        says(page, "Draw a digit")
        assert page.locator(".digit").count() == 0
        draw(page, ZERO)
    home = f"http://127.0.0.1:{page.server.server_port}/"
    assert {*page.requested} == {home, f"{home}read"} | {url for url in page.requested if url.startswith("data:")}


@pytest.mark.browser
def test_a_finger_draws_on_a_phone_which_does_not_scroll(visit):
    page = visit(read, viewport={"width": 360, "height": 640}, has_touch=True, device_scale_factor=3)
    session = page.context.new_cdp_session(page)
    for number, point in enumerate(ONE):
        x, y = at(page, *point)
        event = {"type": "touchMove" if number else "touchStart", "touchPoints": [{"x": x, "y": y}]}
        session.send("Input.dispatchTouchEvent", event)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    says(page, "It reads 1.")
    assert page.evaluate("[scrollX, scrollY]") == [0, 0]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_what_the_network_sees_and_believes_is_painted_number_by_number(visit, rng):
    seen = rng.integers(0, 256, (28, 28)).tolist()
    beliefs = np.linspace(0, 1, 280).reshape(28, 10).tolist()
    page = visit(lambda image: [{"seen": seen, "probabilities": beliefs[-1], "beliefs": beliefs}])
    draw(page, ONE)
    says(page, "It reads 9.")
    pixels = """canvas => Array.from(
        canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)"""
    painted = np.reshape(page.locator(".seen canvas").evaluate(pixels), (28, 28, 4))
    np.testing.assert_array_equal(painted, np.stack([seen, seen, seen, np.full((28, 28), 255)], axis=-1))
    painted = np.reshape(page.locator(".beliefs canvas").evaluate(pixels), (28, 10, 4))
    np.testing.assert_allclose(painted[..., 3] / 255, beliefs, atol=1 / 255)


@pytest.mark.browser
def test_many_moves_never_wait_in_a_queue_and_the_last_drawing_is_the_one_that_counts(visit):
    release, asked = threading.Event(), []

    def slowly(image):
        asked.append(image)
        release.wait(60)
        return read(image)

    page = visit(slowly)
    draw(page, ZERO)
    draw(page, ONE)
    assert len(asked) <= 1
    release.set()
    says(page, "It reads 0 1.")
    assert len(asked) == 2


@pytest.mark.browser
def test_an_error_a_bug_and_a_server_that_is_gone_are_said_and_the_page_goes_on(visit):
    page = visit(read)
    for fault, text in (
        (cli.UserError("no digit found"), "no digit found"),
        (ZeroDivisionError(), "The program does not answer"),
        (None, "It reads 1."),
    ):
        page.server.read = unittest.mock.Mock(side_effect=fault or read)
        draw(page, ONE)
        says(page, text)
    page.server.shutdown()
    page.server.socket.close()
    draw(page, ONE)
    says(page, "The program does not answer")
