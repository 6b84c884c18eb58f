from __future__ import annotations

import threading

from edge.manifest import Calibration
from edge.overlay.painter import HISTORY_S, Painter
from edge.types import Frame, Image, Picture, Result, Verdict
from tests.fakes import grey


def plain(index: int, state: str = "real", pts: float | None = None) -> Result:
    frame = Frame(grey(7, 120, 160), index, 1000.0 + index / 10, "door", pts)
    return Result(frame, None, Verdict(state, None if state == "no_signal" else 0.2))  # type: ignore[arg-type]  # one of the four


def history(painter: Painter, result: Result) -> list[float | None]:
    hud = painter.picture(result).hud
    assert hud is not None
    return [score for _, score in hud.history]


def test_the_history_is_bounded_in_time_and_begins_again_where_the_clock_does() -> None:
    painter = Painter(Calibration(), None)
    for index in range(900):
        scores = history(painter, plain(index, pts=index / 10))
    assert scores == [0.2] * len(scores) and abs(len(scores) - HISTORY_S * 10) <= 1
    assert history(painter, plain(0, pts=0.0)) == [0.2]
    painter.picture(plain(1, pts=0.1))
    painter.reset()
    assert history(painter, plain(2, pts=0.2)) == [0.2]


def test_silence_is_a_gap_in_the_history_only_on_the_clock_of_the_frames() -> None:
    painter = Painter(Calibration(), None)
    painter.picture(plain(0))
    assert history(painter, plain(1, "no_signal")) == [0.2, None]
    painter = Painter(Calibration(), None)
    painter.picture(plain(0, pts=0.0))
    assert history(painter, plain(1, "no_signal")) == [0.2]


def test_the_rate_is_unknown_until_two_frames_and_after_silence() -> None:
    painter = Painter(Calibration(), None)
    rates = []
    for index, state in enumerate(("real", "real", "no_signal")):
        painter.picture(plain(index, state))
        rates.append(painter.fps)
    assert rates[0] is None and rates[2] is None
    assert rates[1] is not None and rates[1] > 0


def test_a_picture_is_drawn_once_for_all_who_ask() -> None:
    drawn = []

    def draw_slowly() -> Image:
        drawn.append(threading.current_thread().name)
        return shown()

    item = plain(0)
    shown = Painter(Calibration(), None).picture(item)
    picture = Picture(draw_slowly)
    images: list[Image] = []
    threads = [threading.Thread(target=lambda: images.append(picture())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 1
    assert len(images) == 8 and all(image is images[0] for image in images)
    assert (images[0] != 7).any() and (item.frame.image == 7).all()
