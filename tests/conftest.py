"""Fixtures and options that all tests share."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.recipe import from_dict, to_dict
from sepgan.separator import Separator

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


@pytest.fixture
def even(tmp_path: Path) -> Path:
    """A model whose every stem is a quarter of the mixture, which is -12 dB of its energy."""
    recipe = from_dict(
        {
            "name": "even",
            "frontend": {"n_fft": 512, "hop_length": 128},
            "generator": {"widths": [4, 4], "head_width": 4},
        }
    )
    separator = Separator(recipe)
    weights = {key: value * 0 for key, value in separator.generator.state_dict().items()}
    header = CheckpointHeader(
        name="even", stems=separator.stems, sample_rate=44100, recipe=to_dict(recipe), licence="CC0 1.0", step=7
    )
    path = tmp_path / "even.safetensors"
    checkpoint.write(path, header, weights)
    return path
