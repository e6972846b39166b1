import http.client
import io
import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

from common import cli, mnist, pad

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def nearest():
    """Return a `read` for the pad: each piece of ink is compared with the mean of each class of the bundled digits."""
    digits = mnist.load_mnist("digits")
    means = np.stack([digits.x_train[digits.y_train == label].mean(axis=0) for label in range(10)])

    def read(image):
        ink = 255 - np.asarray(image.convert("L"))
        boxes = ndimage.find_objects(ndimage.label(ink > 127)[0])
        if not boxes:
            raise cli.UserError("no digit found")
        found = []
        for box in sorted(boxes, key=lambda box: box[1].start):
            piece = Image.fromarray(ink[box])
            piece.thumbnail((20, 20))
            seen = Image.new("L", (28, 28))
            seen.paste(piece, ((28 - piece.width) // 2, (28 - piece.height) // 2))
            distances = np.abs(means - seen).mean(axis=(1, 2))
            odds = np.exp(distances.min() - distances)
            found.append({"seen": np.asarray(seen).tolist(), "probabilities": (odds / odds.sum()).tolist()})
        return found

    return read


@pytest.fixture
def serving():
    """Return a function that serves the pad with a `read` on a free port, and returns the server."""
    servers = []

    def start(read):
        servers.append(pad.Server(read, 0))
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


def png(size=(100, 100), box=(45, 20, 55, 80)):
    image = Image.new("L", size, 255)
    image.paste(0, box)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def bomb():
    """Return a small PNG file that claims 2.5 billion pixels."""
    data = bytearray(png())
    data[16:24] = struct.pack(">2I", 50_000, 50_000)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_a_picture_is_answered_with_what_was_seen_and_the_probabilities(serving, nearest):
    status, _, body = ask(serving(nearest), "POST", "/read", png())
    [digit] = json.loads(body)["digits"]
    assert status == 200
    assert np.argmax(digit["probabilities"]) == 1
    assert np.count_nonzero(digit["seen"]) == 20 * 3


def test_the_page_is_whole_in_itself_and_may_load_nothing_from_elsewhere(serving, nearest):
    for path in ("/", "/?opened=elsewhere"):
        status, headers, body = ask(serving(nearest), "GET", path)
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert not re.search(rb"https?://|@import|url\(", body)
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_only_this_machine_reaches_the_server(serving, nearest):
    assert serving(nearest).server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "message"),
    [
        ("GET", "/pad.py", None, {}, 404, "not found"),
        ("POST", "/", png(), PNG, 404, "not found"),
        ("POST", "/read", png(), {"Content-Type": "text/plain"}, 415, "image/png"),
        ("POST", "/read", b"no picture", PNG, 400, "no PNG picture can be read"),
        ("POST", "/read", png()[:60], PNG, 400, "no PNG picture can be read"),
        ("POST", "/read", bomb(), PNG, 400, "no PNG picture can be read"),
        ("POST", "/read", png((2000, 2001)), PNG, 413, "at most 4,000,000 pixels"),
        ("POST", "/read", None, {**PNG, "Content-Length": str(2**20 + 1)}, 413, "at most 1,048,576 bytes"),
        ("POST", "/read", None, {**PNG, "Content-Length": "9" * 5000}, 413, "at most 1,048,576 bytes"),
        ("POST", "/read", None, {**PNG, "Content-Length": "-1"}, 413, "at most 1,048,576 bytes"),
        ("POST", "/read", iter([]), {**PNG, "Transfer-Encoding": "chunked"}, 413, "at most 1,048,576 bytes"),
    ],
)
def test_any_other_request_is_refused(serving, method, path, body, headers, status, message):
    answer = ask(serving(lambda image: pytest.fail("was read")), method, path, body, headers)
    assert answer[0] == status
    assert re.search(message, answer[2].decode())


def test_where_no_digit_is_found_the_reason_is_answered(serving, nearest):
    status, _, body = ask(serving(nearest), "POST", "/read", png(box=(0, 0, 0, 0)))
    assert (status, json.loads(body)) == (200, {"error": "no digit found"})


def test_a_bug_shows_its_traceback_in_the_terminal_and_an_error_on_the_page(serving, capfd):
    status, _, body = ask(serving(lambda image: 1 / 0), "POST", "/read", png())
    assert status == 500
    assert "bug" in json.loads(body)["error"]
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_body_that_stops_half_way_blocks_nobody_else(serving, nearest):
    server = serving(nearest)
    head = b"POST /read HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nhalf"
    with socket.create_connection(server.server_address) as stalled, socket.create_connection(server.server_address):
        stalled.sendall(head)
        assert ask(server, "POST", "/read", png())[0] == 200


def test_two_pictures_are_read_one_after_the_other(serving):
    inside, most = [], []

    def read(image):
        inside.append(image)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return []

    server = serving(read)
    threads = [threading.Thread(target=ask, args=(server, "POST", "/read", png())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_port_in_use_is_one_line_that_says_what_to_do(serving, nearest):
    port = serving(nearest).server_port
    with pytest.raises(cli.UserError, match=f"--port {port}: .+; name another, or 0 for any free one"):
        pad.serve(nearest, port)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to send Ctrl-C to one process")
def test_it_prints_its_address_and_ctrl_c_ends_it_quietly():
    code = "from common import pad; pad.serve(lambda image: [], 0)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=pad.PAGE.parent.parent, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert re.fullmatch(r"Draw at http://127\.0\.0\.1:\d+/ \(Ctrl-C ends this\)\n", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", None)
    assert process.returncode == 0


# In a browser

ZERO = [(560 + 230 * np.sin(angle), 420 - 300 * np.cos(angle)) for angle in np.linspace(0, 6.28, 40)]
ONE = [(560, y) for y in np.linspace(120, 720, 20)]


@pytest.fixture(scope="module")
def chromium():
    """A Chromium, the system's or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        system = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            browser = driver.chromium.launch(executable_path=system, args=flags)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}; try playwright install chromium")
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, serving):
    """Return a function that opens the pad with a `read`, and returns the page."""
    contexts = []

    def go(read, **options):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.requested, page.server = [], serving(read)
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(f"http://127.0.0.1:{page.server.server_port}/")
        return page

    yield go
    for context in contexts:
        context.close()


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
    page.locator("#status", has_text=re.compile(f"^{text}$")).wait_for()


def moved(points, x):
    return [(0.5 * left + x, top) for left, top in points]


@pytest.mark.browser
def test_what_is_drawn_is_read_and_undo_and_clear_take_it_back(visit, nearest):
    page = visit(nearest)
    says(page, "Draw a digit with mouse, pen or finger.")
    draw(page, moved(ZERO, 0))
    says(page, "It reads 0.")
    assert page.locator(".bar").count() == 10
    assert page.locator(".best > span").first.inner_text() == "0"
    assert page.locator(".answer").inner_text() == f"0 {page.locator('.best > span').last.inner_text()}"
    draw(page, moved(ONE, 520))
    says(page, "It reads 0 1.")
    assert page.locator(".digit").count() == 2
    page.get_by_role("button", name="Undo").click()
    says(page, "It reads 0.")
    page.get_by_role("button", name="Clear").click()
    says(page, "Draw a digit with mouse, pen or finger.")
    assert page.locator(".digit").count() == 0


@pytest.mark.browser
def test_the_keyboard_undoes_and_clears(visit, nearest):
    page = visit(nearest)
    draw(page, moved(ZERO, 0))
    draw(page, moved(ONE, 520))
    says(page, "It reads 0 1.")
    page.keyboard.press("Control+z")
    says(page, "It reads 0.")
    page.keyboard.press("Escape")
    says(page, "Draw a digit with mouse, pen or finger.")
    draw(page, ONE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on the first button
    says(page, "Draw a digit with mouse, pen or finger.")


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["touch", "pen"])
def test_a_finger_and_a_pen_draw_on_a_phone_which_does_not_scroll(visit, nearest, kind):
    page = visit(nearest, viewport={"width": 360, "height": 640}, has_touch=True, device_scale_factor=3)
    session = page.context.new_cdp_session(page)
    for name, mouse, points in (("Start", "Pressed", ONE[:1]), ("Move", "Moved", ONE), ("End", "Released", ONE[-1:])):
        for x, y in (at(page, *point) for point in points):
            if kind == "touch":
                touches = [] if name == "End" else [{"x": x, "y": y}]
                session.send("Input.dispatchTouchEvent", {"type": f"touch{name}", "touchPoints": touches})
            else:
                event = {"type": f"mouse{mouse}", "x": x, "y": y, "button": "left", "buttons": 1, "pointerType": "pen"}
                session.send("Input.dispatchMouseEvent", {**event, "clickCount": 1})
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
def test_many_moves_never_wait_in_a_queue_and_the_last_drawing_is_the_one_that_counts(visit, nearest):
    release, asked = threading.Event(), []

    def read(image):
        asked.append(image)
        release.wait(60)
        return nearest(image)

    page = visit(read)
    draw(page, moved(ZERO, 0))
    draw(page, moved(ONE, 520))
    assert len(asked) <= 1
    release.set()
    says(page, "It reads 0 1.")
    assert len(asked) == 2


@pytest.mark.browser
def test_an_error_and_a_server_that_is_gone_are_said_and_the_page_goes_on(visit, nearest):
    faults = [cli.UserError("no digit found"), ZeroDivisionError()]

    def read(image):
        if faults:
            raise faults[0]
        return nearest(image)

    page = visit(read)
    draw(page, ONE)
    says(page, "no digit found")
    faults.pop(0)
    draw(page, ONE)
    says(page, "the program has a bug; its terminal shows where")
    faults.pop()
    draw(page, ONE)
    says(page, "It reads 1.")
    page.server.shutdown()
    page.server.socket.close()
    draw(page, ONE)
    says(page, r"The program does not answer\. .+")


@pytest.mark.browser
def test_the_page_asks_no_other_address(visit, nearest):
    page = visit(nearest)
    draw(page, ONE)
    says(page, "It reads 1.")
    home = f"http://127.0.0.1:{page.server.server_port}/"
    assert {*page.requested} == {home, f"{home}read"} | {url for url in page.requested if url.startswith("data:")}
