"""A browser for the tests that try pages as a reader would."""

from collections.abc import Iterator

import pytest

from tests.report import chromium


@pytest.fixture(scope="session")
def tab() -> Iterator[chromium.Tab]:
    """A tab of a headless Chromium; the test is skipped where there is none."""
    executable = chromium.find()
    if executable is None:
        pytest.skip("no Chromium found: install the system package chromium")
    with chromium.launch(executable) as opened:
        yield opened
