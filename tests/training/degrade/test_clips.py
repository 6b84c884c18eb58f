from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from av.codec import CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from edge.types import Image
from tests.training.degrade.test_stills import difference, scene
from training.degrade.clips import PARAMETERS, VideoCodec, decode, encode, h264, moving_clip

PAN = ((0, 0), (1, 2), (2, 4), (3, 6))
STILL = ((0, 0),) * 4


@pytest.fixture
def image() -> Image:
    return scene(96, 96)


def test_the_still_clip_keeps_odd_sizes_and_loses_more_at_a_higher_rate_factor() -> None:
    image = scene(61, 47)
    fine, coarse = h264(image, 15), h264(image, 40)
    assert fine.shape == image.shape
    assert 0 < difference(fine, image) < difference(coarse, image) < 12


@pytest.mark.parametrize("codec", get_args(VideoCodec))
def test_a_stream_is_what_it_is_called(image: Image, codec: VideoCodec) -> None:
    packets = encode([image] * 3, codec, {"preset": "ultrafast", "crf": "23"})
    for name in ("h264", "hevc"):
        decoder = CodecContext.create(name, "r")
        assert isinstance(decoder, VideoCodecContext)
        right = name == {"h264": "h264", "h265": "hevc"}[codec]
        assert _reads(decoder, b"".join(map(bytes, packets))) == right


@pytest.mark.parametrize("codec", get_args(VideoCodec))
def test_all_frames_but_the_first_are_predicted(image: Image, codec: VideoCodec) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (4, 96, 96, 3), dtype=np.uint8)
    name, parameters = PARAMETERS[codec]
    frames = decode(encode(list(noise), codec, {"preset": "ultrafast", name: parameters}), codec)
    assert [f.pict_type == PictureType.I for f in frames] == [True, False, False, False]
    assert [f.pts for f in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize("codec", get_args(VideoCodec))
def test_a_moving_clip_shows_the_frame_that_was_taken(image: Image, codec: VideoCodec) -> None:
    for taken, (top, left) in enumerate(PAN[1:], start=1):
        shown = moving_clip(image, codec, 10, "ultrafast", PAN, taken)
        assert shown.shape == (90, 90, 3)
        loss = difference(shown, image[top : top + 90, left : left + 90])
        assert loss < 4 and difference(shown, image[:90, :90]) > loss + 1


@pytest.mark.parametrize("codec", get_args(VideoCodec))
def test_a_clip_loses_more_at_a_higher_rate_factor(image: Image, codec: VideoCodec) -> None:
    losses = [
        difference(moving_clip(image, codec, crf, "ultrafast", STILL, 2), image)
        for crf in (10, 20, 30, 40)
    ]
    assert losses == sorted(losses) and losses[0] < losses[-1] < 20


@pytest.mark.parametrize("codec", get_args(VideoCodec))
@pytest.mark.parametrize("height,width", [(1, 1), (2, 5), (33, 48), (40, 40), (65, 67)])
def test_a_clip_takes_any_size(codec: VideoCodec, height: int, width: int) -> None:
    image = np.full((height + 6, width + 6, 3), 90, np.uint8)
    shown = moving_clip(image, codec, 20, "ultrafast", PAN, 1)
    assert shown.shape == (height, width, 3) and difference(shown, image[6:, 6:]) < 3


def _reads(decoder: VideoCodecContext, stream: bytes) -> bool:
    try:
        packets = decoder.parse(stream) + decoder.parse()
        return any(decoder.decode(packet) for packet in [*packets, None])
    except FFmpegError:
        return False
