from __future__ import annotations

from itertools import combinations

import pytest

from benchmarks.frontier.places import Box, nearest_mark, place, spread

PAGE = Box(0, 0, 400, 300)


def test_positions_far_enough_apart_stay() -> None:
    assert spread([30, 0, 10], 10) == [30, 0, 10]
    assert spread([], 10) == []


def test_crowded_positions_move_apart_around_their_middle() -> None:
    assert spread([5, 5, 5, 100], 10) == pytest.approx([-5, 5, 15, 100])
    # The pair at 0 and 1 would reach the one at 12, so that all three share what is lacking.
    moved = spread([0, 1, 9], 10)
    assert moved == pytest.approx([-20 / 3, 10 / 3, 40 / 3])


def test_bounds_hold_and_neighbours_keep_their_distance() -> None:
    assert spread([18, 19], 10, high=20) == pytest.approx([10, 20])
    assert spread([21, 22, 90], 10, low=20) == pytest.approx([20, 30, 90])


def test_a_name_stands_right_beside_a_free_mark() -> None:
    mark = Box(95, 95, 105, 105)
    box = place((60, 10), [(100, 100)], [mark], PAGE)
    assert 5 <= box.left - 100 < 10 and (box.bottom + box.top) / 2 == pytest.approx(100)


def test_a_name_avoids_what_is_taken_and_the_edge() -> None:
    wall = Box(104, 0, 107, 300)
    box = place((60, 10), [(100, 100)], [wall], PAGE)
    assert box.right < 100 and not box.overlaps(wall)
    assert place((60, 10), [(390, 295)], [], PAGE).within(PAGE)


def test_many_names_of_one_crowd_do_not_cover_each_other() -> None:
    marks = [(150.0 + 14 * i, 150.0 + 5 * (i % 3)) for i in range(8)]
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    taken += [Box(x - 1, y - 60, x + 1, y + 60) for x, y in marks]
    names: list[Box] = []
    for mark in marks:
        names.append(place((80, 10), [mark], [*taken, *names], PAGE))
    assert not any(a.overlaps(b) for a, b in combinations(names, 2))
    assert not any(name.overlaps(box) for name in names for box in taken)


def test_a_page_without_room_still_gives_a_place() -> None:
    assert place((500, 10), [(100, 100)], [], PAGE) == Box(100, 100, 600, 110)
    full = place((60, 10), [(100, 100)], [PAGE], PAGE)
    assert full.within(PAGE)


def test_the_leader_runs_to_the_nearer_mark() -> None:
    assert nearest_mark(Box(0, 0, 10, 10), [(50, 5), (20, 5)]) == (20, 5)
