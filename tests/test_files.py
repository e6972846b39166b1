import signal
import sys

from common import files

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="written for the signals of POSIX")


def test_a_file_appears_when_it_is_whole(tmp_path):
    with files.whole(tmp_path / "model.keras") as path:
        assert path.suffix == ".keras", "Keras and matplotlib go by the ending"
        path.write_text("whole")
        assert not (tmp_path / "model.keras").exists()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.keras", "whole")]


def test_a_file_that_fails_half_way_leaves_the_one_before(tmp_path):
    (tmp_path / "result.json").write_text("before")
    with pytest.raises(OSError), files.whole(tmp_path / "result.json") as path:
        path.write_text("ha")
        raise OSError(28, "No space left on device")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("result.json", "before")]


@pytest.mark.parametrize("number", files.STOP)
def test_a_signal_is_taken_unless_it_was_ignored_and_given_back(number):
    taken = []
    before = signal.signal(number, signal.default_int_handler)
    try:
        with files.stop_calls(lambda number, frame: taken.append(number)):
            signal.raise_signal(number)
        assert taken == [number]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.signal(number, signal.SIG_IGN)  # as nohup does
        with files.stop_calls(lambda number, frame: taken.append(number)):
            signal.raise_signal(number)
        assert taken == [number]
    finally:
        signal.signal(number, before)


def test_ctrl_c_waits_for_a_file_and_is_not_lost(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.stop_waits(), files.whole(tmp_path / "model.keras") as path:
        signal.raise_signal(signal.SIGINT)
        path.write_text("whole")
    assert (tmp_path / "model.keras").read_text() == "whole"
