from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.backends.base import MAX_BATCH
from edge.detector import Detector, Stopwatch, combine, finish_together
from edge.errors import RegionError
from edge.faces import Faces, FaceSettings
from edge.pixels import to_bgr
from edge.regions import parse_region
from tests.edge.faces.pictures import scene, wall
from tests.fakes import FakeBackend, as_nv12, grey


@pytest.mark.parametrize(("text", "input_hw"), [("resize:20", (20, 20)), ("fit:20", (20, 30))])
def test_gives_regions_in_pixels_of_the_frame_and_of_the_model(
    text: str, input_hw: tuple[int, int]
) -> None:
    (region,) = Detector(FakeBackend(), parse_region(text)).detect(grey(138, 40, 60), Stopwatch())
    assert (region.xyxy, region.input_hw) == ((0, 0, 60, 40), input_hw)
    assert region.evidence.logit == 10.0
    assert region.evidence.patch_logits is not None


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


def test_one_region_keeps_its_map_and_none_is_no_face() -> None:
    watch = Stopwatch()
    regions = Detector(FakeBackend(), parse_region("native")).detect(grey(0), watch)
    assert combine(regions).patch_logits is not None
    assert list(watch.timings_ms) == ["region", "model"]
    assert all(elapsed > 0 for elapsed in watch.timings_ms.values())
    with pytest.raises(RegionError, match=r"^no face was found$"):
        combine(())


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
    Detector(Backend(), parse_region("fit:64")).warm_up()
    assert sizes == [(64, 64)]


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
    work = [
        detector.begin(grey(100 + 10 * i, *size), watch)
        for i, (size, watch) in enumerate(zip(sizes, watches, strict=True))
    ]
    regions = finish_together(backend, work, watches)
    assert [part[0].evidence.logit for part in regions] == [-28, -18, -8, 2, 12]
    assert [part[0].input_hw for part in regions] == sizes
    assert sorted(backend.batches) == [2, 3]
    assert all("model" in watch.timings_ms for watch in watches)
    assert finish_together(backend, [], []) == [] and len(backend.batches) == 2


def test_tiles_of_several_frames_share_batches_and_stay_apart() -> None:
    backend = FakeBackend()
    detector = Detector(backend, parse_region("tiles:16"))
    work = [detector.begin(grey(value, 32, 48), Stopwatch()) for value in (10, 200)]
    first, second = finish_together(backend, work, [])
    assert [len(first), len(second)] == [6, 6]
    assert {part.evidence.logit for part in first} == {-118.0}
    assert {part.evidence.logit for part in second} == {72.0}
    assert backend.batches == [8, 4]


TWO = ((60, 60), (380, 60))


def face_detector(backend: FakeBackend, faces: Faces | None = None, every: int = 3) -> Detector:
    faces = faces or Faces(FaceSettings(every=every))
    return Detector(backend, parse_region("faces:64"), faces)


def test_every_face_is_cut_followed_and_scored() -> None:
    backend = FakeBackend()
    detector = face_detector(backend)
    for i in range(5):
        watch = Stopwatch()
        image = scene([(60 + 5 * i, 60), (380, 60)], light=(0.5, 1.0))
        regions = detector.finish(detector.begin(image, watch), watch)
        assert list(watch.timings_ms) == ["faces", "region", "model"]
        by_place = sorted(regions, key=lambda region: region.xyxy)
        if not i:
            numbers = [region.track for region in by_place]
        assert [region.track for region in by_place] == numbers and len(set(numbers)) == 2
        dark, bright = by_place
        assert dark.input_hw == (64, 64) and dark.verdict is None
        assert dark.evidence.logit < bright.evidence.logit
        assert dark.evidence.patch_logits is not None
        assert combine(regions).logit == bright.evidence.logit
        assert combine(regions).patch_logits is None
        assert combine((dark,)) is dark.evidence
    assert backend.batches == [2] * 5
    assert not detector.works_ahead


def test_no_face_gives_no_region_and_asks_no_model() -> None:
    backend = FakeBackend()
    assert face_detector(backend).detect(wall(360, 640), Stopwatch()) == ()
    assert backend.batches == []


def test_a_picture_on_its_own_is_looked_at_though_the_last_was_the_same() -> None:
    detector = face_detector(FakeBackend(), every=100)
    tracks = [detector.detect(scene([TWO[0]]), Stopwatch())[0].track for _ in range(3)]
    assert tracks == [1, 2, 3]


def test_faces_are_found_in_nv12_too() -> None:
    nv12 = as_nv12(scene([TWO[0]]))
    detector = face_detector(FakeBackend())
    watch = Stopwatch()
    (region,) = detector.finish(detector.begin(nv12, watch, "nv12"), watch)
    (same,) = detector.detect(to_bgr(nv12, "nv12"), Stopwatch())
    assert region.xyxy == same.xyxy and region.evidence.logit == same.evidence.logit


def test_sources_share_a_finder_and_a_batch_and_keep_their_own_tracks() -> None:
    backend = FakeBackend()
    with Faces(FaceSettings(every=2)) as faces:
        cameras = [face_detector(backend, faces) for _ in range(3)]
        assert all(camera.faces.finder is faces.finder for camera in cameras)
        shown = [scene(TWO), wall(360, 640), scene([(200, 60)])]
        for _ in range(4):
            watches = [Stopwatch() for _ in cameras]
            work = [
                c.begin(*given)
                for c, given in zip(cameras, zip(shown, watches, strict=True), strict=True)
            ]
            found = finish_together(backend, work, watches)
            assert [sorted(r.track or 0 for r in regions) for regions in found] == [[1, 2], [], [1]]
    assert backend.batches == [3] * 4


def test_a_face_smaller_than_a_patch_is_refused_as_any_picture() -> None:
    detector = Detector(FakeBackend(), parse_region("faces:4"))
    with pytest.raises(RegionError, match="4×4 pixels; fake needs at least 5×5"):
        detector.begin(scene([TWO[0]]), Stopwatch())
    with pytest.raises(RegionError):
        detector.warm_up()


def test_a_detector_of_anything_else_opens_no_finder() -> None:
    faces = Faces(FaceSettings(model=Path("absent.onnx")))
    detector = Detector(FakeBackend(), parse_region("native"), faces)
    detector.restart()
    assert len(detector.detect(scene([TWO[0]]), Stopwatch())) == 1
