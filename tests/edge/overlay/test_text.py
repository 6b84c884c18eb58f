"""Lines of text: what the font can draw, how wide it gets, how it is shortened."""

from __future__ import annotations

import numpy as np
import pytest

from edge.overlay.panel import fitted_text
from edge.overlay.text import elided, line_height, printable, text_sprite, text_width

INK = (10, 20, 30)
SHOWN = "0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz %<>.,:;/\\_-#?·…"


def test_the_font_has_all_that_the_overlay_writes_itself() -> None:
    assert printable(SHOWN) == SHOWN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ångström – naïve", "Angstrom - naive"),
        ("Камера", "??????"),
        ("tab\tand\nline", "tab and line"),
        ("\udc80", "?"),
        ("Ⅷ", "VIII"),
        ("", ""),
    ],
)
def test_what_cannot_be_drawn_is_replaced(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("size", [11, 16, 26, 67, 134])
def test_digits_are_equally_wide_and_words_stay_apart(size: int) -> None:
    assert len({text_width(f"{digit}{digit}{digit} %", size) for digit in range(10)}) == 1
    assert text_width("a b", size) - text_width("ab", size) >= 0.2 * size - 1  # rounded


@pytest.mark.parametrize("width", [0, 20, 60, 150, 400])
def test_a_long_line_is_shortened_in_its_middle(width: int) -> None:
    text = "/media/recordings/front-door/clip_000123.mp4"
    short = elided(text, 16, width)
    head, _, tail = short.partition("…")
    if text_width(text, 16) > width:
        assert short == "…" or text_width(short, 16) <= width
        assert text.startswith(head) and text.endswith(tail)
        assert abs(len(head) - len(tail)) <= 1
    else:
        assert short == text
    assert text_width(elided("m" * 50, 16, 200) + "m", 16) > 200  # as much as fits


def test_a_sprite_holds_the_whole_line_and_bold_covers_more() -> None:
    covered = []
    for weight in (0, 2):
        sprite = text_sprite("FAKE gjpq", 40, INK, weight)
        opacity = 255 - sprite.keep[..., 0]
        assert len(opacity) == line_height(40)
        assert opacity.max() == 255
        assert not (opacity[0].any() or opacity[-1].any() or opacity[:, -1].any())
        covered.append((opacity > 127).sum())
    assert covered[1] > 1.2 * covered[0]


def test_a_sprite_is_its_colour_times_its_coverage() -> None:
    sprite = text_sprite("FAKE", 40, INK)
    covered = sprite.keep[..., 0] == 0
    assert (sprite.light[covered] == INK).all()
    assert not sprite.light[sprite.keep[..., 0] == 255].any()
    with pytest.raises(ValueError, match="read-only"):
        sprite.light[0, 0] = np.uint8(1)


def test_a_row_loses_first_what_says_least() -> None:
    def row(text: str, width: int) -> str:
        return fitted_text(text, 14, width)

    legend, path = "heat map: fake 69 % to >99 %", "0:41  /long/way/to/the/folder/of/clip.mp4"
    assert row(legend, 400) == legend and row(path, 400) == path
    assert row(legend, text_width(legend, 14) - 1) == "fake 69 % to >99 %"
    assert row(path, text_width(path, 14) - 1) == "0:41  …/clip.mp4"
    address = "rtsp://camera.example.org/one/stream"
    assert row(address, 120).startswith("rtsp://")
