"""The line of progress that commands share."""

import io
import sys

from diffsr.commands.terminal import Parser, Progress, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_with_the_time_left_and_takes_it_away(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("rendering", "rooms") as progress:
        for done in (90, 92, 94):  # 90 were there before
            progress(done, 100)
            now[0] += 10
    states = sys.stderr.getvalue().split("\r")
    assert "rendering 94/100 rooms" in states[-3]
    assert "00:30 left" in states[-3]  # 5 s a room
    assert "\n" not in sys.stderr.getvalue()
    assert states[-2].strip() == ""


def test_elsewhere_a_line_is_written_every_half_minute(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress("scoring", "items") as progress:
        for done in range(1, 8):
            now[0] += 10
            progress(done, 7, "name" if done > 3 else "")
    assert capsys.readouterr().err.splitlines() == [
        "diffsr: scoring: 3/7 items, 0.7 min left",  # 10 s an item
        "diffsr: scoring: 6/7 items, name, 0.2 min left",
    ]


def test_the_time_left_is_that_of_what_is_at_work(monkeypatch, capsys):
    now_s = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    progress = Progress("scoring")
    progress(0, 3, "a")
    now_s = 100.0
    progress(2, 3, "b")  # 50 s an item
    now_s = 1000.0
    progress(0, 3, "c")  # another system
    now_s = 1050.0
    progress(1, 3, "d")
    news = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    assert news == [
        "diffsr: scoring: 2/3 items, b, 0.8 min left",
        "diffsr: scoring: 1/3 items, d, 1.7 min left",
    ]


def test_a_home_folder_behind_an_option_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = Parser()
    parser.add_argument("files", nargs="*")
    parser.add_argument("--output")
    assert parser.parse_args(["--output=~/a b.csv"]).output == str(tmp_path / "a b.csv")
    assert parser.parse_args(["--output=~a.csv"]).output == "~a.csv"


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch):
    for encoding, shown in (("utf-8", "ü \\udcfc"), ("ascii", "\\xfc \\udcfc")):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stdout)
        say("ü \udcfc")
        assert stdout.buffer.getvalue().decode() == shown + "\n"
