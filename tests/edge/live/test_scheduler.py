from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from edge.detector import Detector
from edge.live.scheduler import Scheduler, batch_that_pays
from edge.regions import parse_region
from tests.fakes import FakeBackend, FakeClock


def share_out(
    rates: Mapping[str, float], model_s: float, batch: int = 1, span_s: float = 120.0
) -> dict[str, float]:
    """Share of the frames that is served of cameras at given rates; a batch takes `model_s`."""
    scheduler = Scheduler()
    arrived = dict.fromkeys(rates, 0)
    seen = dict.fromkeys(rates, 0)
    waiting: set[str] = set()
    now = 0.0
    while now < span_s:
        for name, rate in rates.items():
            came = int(now * rate) - arrived[name]
            if came:
                waiting.add(name)
            arrived[name] += came
            scheduler.arrived(name, came, now)
        chosen = scheduler.choose(sorted(waiting), batch, now)
        for name in chosen:
            waiting.discard(name)
            seen[name] += 1
        now += model_s if chosen else 0.001
    return {name: seen[name] / arrived[name] for name in rates}


@pytest.mark.parametrize("batch", [1, 4])
def test_equal_cameras_skip_the_same_share(batch: int) -> None:
    shares = share_out(dict.fromkeys("abcdefgh", 30.0), 0.030 * batch, batch)
    assert min(shares.values()) > 0.1
    assert max(shares.values()) < 1.02 * min(shares.values())


def test_a_frame_in_five_seconds_is_seen_at_once_beside_seven_that_overload() -> None:
    rates = {"rare": 0.2} | dict.fromkeys("abcdefg", 30.0)
    shares = share_out(rates, 0.040)
    assert shares.pop("rare") == 1.0
    assert max(shares.values()) < 1.02 * min(shares.values())


def test_nothing_is_skipped_where_there_is_time_for_all() -> None:
    shares = share_out({"a": 10.0, "b": 4.0}, 0.010)
    assert min(shares.values()) > 0.99


def test_a_camera_that_comes_back_does_not_push_the_others_aside() -> None:
    scheduler = Scheduler()
    for name in ("stays", "returns"):
        scheduler.arrived(name, 600, 0.0)
    for _ in range(300):
        scheduler.choose(["stays"], 1, 0.0)
    # Away for five minutes; what it missed has faded.
    seen = {"stays": 0, "returns": 0}
    for step in range(100):
        now = 300.0 + step / 10
        for name in seen:
            scheduler.arrived(name, 3, now)
        seen[scheduler.choose(list(seen), 1, now)[0]] += 1
    assert abs(seen["stays"] - seen["returns"]) <= 10


def test_a_camera_that_is_forgotten_leaves_nothing() -> None:
    scheduler = Scheduler()
    scheduler.arrived("gone", 1000, 0.0)
    scheduler.keep([])
    scheduler.arrived("gone", 1, 1.0)
    scheduler.arrived("other", 1, 1.0)
    assert set(scheduler.choose(["gone", "other"], 2, 1.0)) == {"gone", "other"}
    assert scheduler.choose([], 3, 2.0) == []


def test_a_batch_is_used_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(time, "perf_counter", clock.now)

    class Timed(FakeBackend):
        def __init__(self, each_s: float, all_s: float) -> None:
            super().__init__()
            self.times = each_s, all_s

        def warm_up(self, height: int, width: int, batch: int = 1) -> None:
            each_s, all_s = self.times
            clock.pass_s(all_s + each_s * batch)

    serial, parallel = Timed(0.01, 0.0), Timed(0.0005, 0.01)
    assert batch_that_pays(Detector(serial, parse_region("resize:64"))) == 1
    assert batch_that_pays(Detector(parallel, parse_region("resize:64"))) == 8
    assert batch_that_pays(Detector(parallel, parse_region("native"))) == 1
