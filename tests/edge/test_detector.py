from __future__ import annotations

import pytest

from edge.backends.base import MAX_BATCH
from edge.detector import Detector, Faces, Job, Stopwatch, combine, finish_jobs
from edge.errors import RegionError
from edge.faces import FaceFinder
from edge.pixels import to_bgr
from edge.regions import parse_region
from edge.types import Frame, Image, PixelFormat
from tests.edge.faces.pictures import scene, wall
from tests.fakes import FakeBackend, as_nv12, grey, make_manifest


def started(detector: Detector, image: Image, pixel_format: PixelFormat = "bgr") -> Job:
    frame = Frame(image, 0, 0.0, "fake", pixel_format=pixel_format)
    return detector.start(frame, Stopwatch())


@pytest.mark.parametrize(("text", "input_hw"), [("resize:20", (20, 20)), ("fit:20", (20, 30))])
def test_gives_regions_in_pixels_of_the_frame_and_of_the_model(
    text: str, input_hw: tuple[int, int]
) -> None:
    (region,) = Detector(FakeBackend(), parse_region(text)).detect(grey(138, 40, 60), Stopwatch())
    assert (region.xyxy, region.input_hw) == ((0, 0, 60, 40), input_hw)
    assert region.evidence.logit == 10.0
    assert region.evidence.patch_logits is not None


@pytest.mark.parametrize("pixel_format", ["bgr", "nv12"])
def test_only_what_the_model_sees_is_asked_for_texture(pixel_format: PixelFormat) -> None:
    frame = grey(40, 96, 96)
    frame[:, ::32] = frame[:, 1::32] = 200
    for shows in (True, False):
        given = frame if pixel_format == "bgr" else as_nv12(frame)
        job = started(Detector(FakeBackend(), parse_region("center:64")), given, pixel_format)
        assert [region.textured for region in finish_jobs([job])[0]] == [shows]
        frame[16:80, 16:80] = 128  # all that the model sees


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


def test_crops_of_one_size_go_to_the_model_together_and_each_gets_its_own() -> None:
    backend = FakeBackend()
    sizes = [(32, 48), (20, 20), (32, 48), (32, 48), (20, 20)]
    detector = Detector(backend, parse_region("native"))
    jobs = [started(detector, grey(100 + 10 * i, *size)) for i, size in enumerate(sizes)]
    regions = finish_jobs(jobs)
    assert [part[0].evidence.logit for part in regions] == [-28, -18, -8, 2, 12]
    assert [part[0].input_hw for part in regions] == sizes
    assert sorted(backend.batches) == [2, 3]
    assert all("model" in job.watch.timings_ms for job in jobs)
    assert finish_jobs([]) == [] and len(backend.batches) == 2


TWO = ((60, 60), (380, 60))


def face_detector(backend: FakeBackend, faces: Faces | None = None) -> Detector:
    return Detector(backend, parse_region("faces:64"), faces)


def test_every_face_is_cut_followed_and_scored() -> None:
    backend = FakeBackend()
    detector = face_detector(backend)
    for i in range(5):
        job = started(detector, scene([(60 + 5 * i, 60), (380, 60)], light=(0.5, 1.0)))
        (regions,) = finish_jobs([job])
        assert list(job.watch.timings_ms) == ["faces", "model"]
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


def test_no_face_gives_no_region_and_asks_no_model() -> None:
    backend = FakeBackend()
    assert face_detector(backend).detect(wall(360, 640), Stopwatch()) == ()
    assert backend.batches == []


def test_a_picture_on_its_own_is_looked_at_though_the_last_was_the_same() -> None:
    backend = FakeBackend()
    detector = face_detector(backend)
    tracks = [detector.detect(scene([TWO[0]]), Stopwatch())[0].track for _ in range(3)]
    assert (tracks, backend.batches) == ([1, 1, 1], [1, 1, 1])


def test_faces_are_found_in_nv12_too() -> None:
    nv12 = as_nv12(scene([TWO[0]]))
    detector = face_detector(FakeBackend())
    ((region,),) = finish_jobs([started(detector, nv12, "nv12")])
    (same,) = detector.detect(to_bgr(nv12, "nv12"), Stopwatch())
    assert region.xyxy == same.xyxy and region.evidence.logit == same.evidence.logit


def test_sources_share_a_finder_and_a_batch_and_keep_their_own_tracks() -> None:
    backend = FakeBackend()
    faces = Faces(backend, FaceFinder())
    cameras = [face_detector(backend, faces) for _ in range(3)]
    shown = [scene(TWO), wall(360, 640), scene([(200, 60)])]
    for _ in range(4):
        found = finish_jobs([started(*each) for each in zip(cameras, shown, strict=True)])
        assert [sorted(r.track or 0 for r in regions) for regions in found] == [[1, 2], [], [1]]
    assert backend.batches == [3] * 4


def test_picture_and_faces_are_seen_in_one_pass_by_a_model_each() -> None:
    whole, close = FakeBackend(), FakeBackend(manifest=make_manifest(region="faces:48"))
    faces = Faces(close, FaceFinder(), size=48, rate=5)
    detectors = [Detector(whole, parse_region("resize:64"), faces) for _ in range(2)]
    jobs = [started(detectors[0], scene(TWO)), started(detectors[1], wall(360, 640))]
    both, alone = finish_jobs(jobs)
    assert [region.track for region in both] == [None, 1, 2] and both[1].input_hw == (48, 48)
    assert [region.track for region in alone] == [None]
    assert (whole.batches, close.batches) == ([2], [2])
    assert list(jobs[0].watch.timings_ms) == ["region", "faces", "model", "face model"]
    assert combine(both) is both[0].evidence
    soon = detectors[0].start(Frame(scene(TWO), 1, 0.1, "fake"), Stopwatch())
    assert jobs[0].looked and not soon.looked and len(finish_jobs([soon])[0]) == 1
    # A source that has faces as its region uses its model for them, and then that one alone.
    own = Detector(whole, parse_region("faces:64"), faces).faces
    assert own is not None and (own.backend, own.size, own.rate) == (whole, 64, 5)
    assert Detector(close, parse_region("native"), faces).faces is None


def test_a_face_smaller_than_a_patch_is_refused_as_any_picture() -> None:
    detector = Detector(FakeBackend(), parse_region("faces:4"))
    assert "4×4 pixels; fake needs at least 5×5" in str(started(detector, scene([TWO[0]])).error)
    with pytest.raises(RegionError):
        detector.warm_up()
