from __future__ import annotations

import numpy as np
import torch

from training.data.crops import centre_crop, normalised, part_at, resized


def numbered(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.arange(height * width * 3).astype(np.uint8).reshape(height, width, 3)


def test_a_part_lies_where_it_is_asked_for_and_is_cut_at_the_border() -> None:
    image = numbered(9, 5)
    assert np.array_equal(part_at(image, 4, (0.0, 0.0)), image[:4, :4])
    assert np.array_equal(part_at(image, 4, (1.0, 1.0)), image[5:, 1:])
    assert np.array_equal(part_at(image, 7, (1.0, 0.3)), image[2:])
    assert np.array_equal(centre_crop(image, 3), image[3:6, 1:4])


def test_resized_is_square_or_untouched() -> None:
    assert resized(numbered(9, 5), 4).shape == (4, 4, 3)
    assert np.array_equal(resized(numbered(9, 5), None), numbered(9, 5))


def test_normalised_turns_bgr_bytes_into_standardised_rgb() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 2] = 255
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert torch.allclose(normalised(image)[:, 1, 2], torch.tensor(expected))
    assert normalised(image).shape == (3, 2, 3)
    assert torch.equal(normalised(image[None])[0], normalised(image))
