from __future__ import annotations

import time

import pytest

from benchmarks.end_to_end.clips import Size
from benchmarks.end_to_end.stamp import read_stamp
from benchmarks.end_to_end.stream import live_stream, now_us
from edge.sources import open_source
from edge.sources.live import LiveSource
from edge.types import Frame


def test_a_client_reads_fresh_times_from_the_stream() -> None:
    with live_stream(Size("small", 96, 400)) as address, open_source(address) as source:
        assert isinstance(source, LiveSource)
        ages_us: list[int] = []
        times: list[int] = []
        deadline = time.monotonic() + 20
        while len(times) < 12:
            assert time.monotonic() < deadline
            frame = source.poll()
            if not isinstance(frame, Frame):
                time.sleep(0.005)
                continue
            drawn = read_stamp(frame.image)
            assert drawn is not None
            times.append(drawn)
            ages_us.append(now_us() - drawn)
    assert times == sorted(set(times))
    assert all(0 < age < 10_000_000 for age in ages_us)


def test_a_sender_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.end_to_end.stream._SENDER", "benchmarks.nowhere")
    with (
        pytest.raises(RuntimeError, match="before it served"),
        live_stream(Size("small", 96, 400)),
    ):
        pass
