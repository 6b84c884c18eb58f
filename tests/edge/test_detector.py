from __future__ import annotations

import numpy as np
import pytest

from edge.backends.base import MAX_BATCH
from edge.detector import Detector, Stopwatch, combine, finish_together
from edge.errors import RegionError
from edge.regions import parse_region
from tests.fakes import FakeBackend, grey


def test_gives_regions_in_pixels_of_the_frame_and_of_the_model() -> None:
    detector = Detector(FakeBackend(), parse_region("resize:20"))
    (region,) = detector.detect(grey(138, 40, 60), Stopwatch())
    assert region.xyxy == (0, 0, 60, 40)
    assert region.input_hw == (20, 20)
    assert region.evidence.logit == 10.0


def test_tiles_are_batched_within_bounds_and_averaged() -> None:
    backend = FakeBackend()
    image = grey(128, 50, 50)
    image[:, 25:] = 148
    regions = Detector(backend, parse_region("tiles:10")).detect(image, Stopwatch())
    assert len(regions) == 25
    assert backend.batches == [MAX_BATCH, MAX_BATCH, MAX_BATCH, 1]
    evidence = combine(regions)
    assert evidence.logit == pytest.approx(image.mean() - 128)
    assert evidence.patch_logits is None


def test_one_region_keeps_its_map() -> None:
    regions = Detector(FakeBackend(), parse_region("native")).detect(grey(0), Stopwatch())
    assert combine(regions).patch_logits is not None


def test_a_picture_smaller_than_a_patch_is_refused_before_the_model() -> None:
    backend = FakeBackend()
    with pytest.raises(RegionError, match="1×1 pixels; fake needs at least 5×5"):
        Detector(backend, parse_region("native")).detect(grey(0, 1, 1), Stopwatch())
    assert backend.batches == []


def test_warms_up_at_the_size_that_the_region_fixes() -> None:
    class Backend(FakeBackend):
        def warm_up(self, height: int, width: int, batch: int = 1) -> None:
            sizes.append((height, width))

    sizes: list[tuple[int, int]] = []
    Detector(Backend(), parse_region("resize:64")).warm_up()
    Detector(Backend(), parse_region("native")).warm_up()
    assert sizes == [(64, 64)]


def test_times_its_stages() -> None:
    watch = Stopwatch()
    Detector(FakeBackend(), parse_region("native")).detect(grey(0), watch)
    assert list(watch.timings_ms) == ["region", "model"]
    assert all(elapsed > 0 for elapsed in watch.timings_ms.values())


def test_the_model_gets_contiguous_pixels() -> None:
    seen: list[bool] = []

    def look(image: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> float:
        seen.append(image.flags["C_CONTIGUOUS"])
        return 0.0

    Detector(FakeBackend(look), parse_region("center:8")).detect(grey(0, 50, 50), Stopwatch())
    assert seen == [True]


def test_crops_of_one_size_go_to_the_model_together_and_each_gets_its_own() -> None:
    backend = FakeBackend()
    sizes = [(32, 48), (20, 20), (32, 48), (32, 48), (20, 20)]
    detector = Detector(backend, parse_region("native"))
    watches = [Stopwatch() for _ in sizes]
    begun = [
        detector.begin(grey(100 + 10 * i, *size), watch)
        for i, (size, watch) in enumerate(zip(sizes, watches, strict=True))
    ]
    regions = finish_together(backend, begun, watches)
    assert [part[0].evidence.logit for part in regions] == [-28, -18, -8, 2, 12]
    assert [part[0].input_hw for part in regions] == sizes
    assert sorted(backend.batches) == [2, 3]
    assert all("model" in watch.timings_ms for watch in watches)


def test_finishing_nothing_asks_nothing() -> None:
    backend = FakeBackend()
    assert finish_together(backend, [], []) == []
    assert backend.batches == []


def test_tiles_of_several_frames_share_batches_and_stay_apart() -> None:
    backend = FakeBackend()
    detector = Detector(backend, parse_region("tiles:16"))
    begun = [detector.begin(grey(value, 32, 48), Stopwatch()) for value in (10, 200)]
    first, second = finish_together(backend, begun, [])
    assert [len(first), len(second)] == [6, 6]
    assert {part.evidence.logit for part in first} == {-118.0}
    assert {part.evidence.logit for part in second} == {72.0}
    assert backend.batches == [8, 4]
