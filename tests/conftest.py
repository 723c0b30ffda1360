"""Fixtures and options that all tests share."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

ABSENT_DATA = "shared test data absent: set SEPGAN_TEST_DATA"  # the one reason to skip that --strict-skips accepts


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail on every skipped or expected-to-fail test but those marked gpu or for absent shared data",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that nobody expects into a failure, so that CI cannot pass by testing nothing."""
    report = yield
    if item.config.getoption("--strict-skips") and report.skipped:
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if item.get_closest_marker("gpu") is None and ABSENT_DATA not in reason:
            report.outcome = "failed"
            report.longrepr = f"--strict-skips: {item.nodeid} was skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test audio named by SEPGAN_TEST_DATA; the test is skipped where there is none."""
    folder = os.environ.get("SEPGAN_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(ABSENT_DATA)
    return Path(folder)


@pytest.fixture(autouse=True)
def _no_models_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep models that somebody added on this machine out of the tests."""
    monkeypatch.setenv("SEPGAN_MODELS", str(tmp_path_factory.getbasetemp() / "no-models-here"))
