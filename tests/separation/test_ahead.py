"""A generator in a thread of its own gives what it gives without, and ends with whoever uses it."""

import threading
from collections.abc import Generator

import pytest

from sepgan.separation.ahead import ahead


def counting(made: list[int], until: int = 1000) -> Generator[int, None, None]:
    try:
        for number in range(until):
            made.append(number)
            yield number
    finally:
        made.append(-1)


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_all_items_come_in_order(depth: int) -> None:
    assert list(ahead(counting([], 50), depth)) == list(range(50))


def test_the_next_items_are_made_meanwhile_but_not_too_many() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Generator[int, None, None]:
        for number in counting(made):
            if number == 2:
                third.set()
            yield number

    pieces = ahead(items(), 4)
    assert next(pieces) == 0
    assert third.wait(10), "nobody asked for it yet"
    pieces.close()
    assert len(made) <= 1 + 4 + 1 + 1  # given, waiting, in hand, and the end


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise MemoryError("all gone")

    pieces = ahead(failing(), 5)
    assert next(pieces) == 1
    with pytest.raises(MemoryError, match="all gone"):
        next(pieces)


def test_closing_ends_thread_and_generator() -> None:
    made: list[int] = []
    before = threading.active_count()
    pieces = ahead(counting(made), 2)
    next(pieces)
    pieces.close()
    assert made[-1] == -1
    assert threading.active_count() == before


def test_an_error_of_the_user_ends_thread_and_generator() -> None:
    made: list[int] = []
    pieces = ahead(counting(made), 2)

    def use() -> None:
        for number in pieces:
            if number == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    pieces.close()
    assert made[-1] == -1
