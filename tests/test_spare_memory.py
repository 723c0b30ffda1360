"""Memory is used again only by what fits into it, and nobody gets what somebody else has."""

from __future__ import annotations

import torch

from sepgan.spare_memory import SpareMemory

LIKE = torch.empty(0)


def test_what_was_given_back_is_taken_again_if_it_is_large_enough() -> None:
    spare = SpareMemory()
    first = spare.take(100, LIKE)
    second = spare.take(100, LIKE)
    assert first.data_ptr() != second.data_ptr()
    spare.give(first)
    again = spare.take(80, LIKE)
    assert again.data_ptr() == first.data_ptr()
    spare.give(again)
    assert len(spare.take(101, LIKE)) == 101


def test_other_types_get_memory_of_their_own() -> None:
    spare = SpareMemory()
    spare.give(spare.take(10, LIKE))
    assert spare.take(5, LIKE.double()).dtype == torch.float64


def test_it_can_be_given_up() -> None:
    spare = SpareMemory()
    first = spare.take(10, LIKE)
    spare.give(first)
    spare.clear()
    assert spare.take(10, LIKE).data_ptr() != first.data_ptr()
