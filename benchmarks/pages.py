"""Tables in pages that a benchmark writes itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sepgan.atomic import replacing


def replace_between(page: Path, name: str, lines: Iterable[str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page.

    Raises:
        ValueError: The page has not these two marks.
    """
    text = page.read_text(encoding="utf-8")
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if first not in text or last not in text:
        raise ValueError(f"'{page}' has no marks {first.strip()} and {last} to write between")
    before, rest = text.split(first, 1)
    with replacing(page) as temporary:
        temporary.write_text(before + first + "\n".join(["", *lines, "", ""]) + last + rest.split(last, 1)[1], "utf-8")
