"""Work in processes: all of it is done, and one that brings its process down is found out."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from edge.errors import SinkError
from training.faces.workers import share_out


def squared(number: int) -> int:
    return number * number


def deadly(number: int) -> int:
    if number == 3:
        os._exit(1)
    return number * number


def failing(number: int) -> int:
    raise SinkError(f"the disk is full at {number}.")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers: int) -> None:
    done = list(share_out(range(20), squared, workers))
    assert sorted(job for job, _ in done) == list(range(20))
    assert all(result == job * job for job, result in done)


def test_a_job_that_ends_its_process_is_told_and_the_others_are_done() -> None:
    done = list(share_out(range(6), deadly, 2))
    assert Counter(job for job, _ in done) == Counter(range(6))
    assert [job for job, result in done if result is None] == [3]
    assert all(result == job * job for job, result in done if job != 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_ends_all(workers: int) -> None:
    with pytest.raises(SinkError, match="the disk is full"):
        list(share_out(range(4), failing, workers))
