"""Music that tests of training share."""

from pathlib import Path

import pytest

from tests import synth


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tree of each kind, and a cache that all runs share."""
    root = tmp_path_factory.mktemp("trees")
    return {
        "music": synth.folder_tree(root / "music", duration_s=1.0, sample_rate=16000),
        "stems": synth.folder_tree(root / "stems"),
        "pairs": synth.pairs_tree(root / "pairs"),
        "musdb18": synth.musdb18_tree(root / "musdb18"),
        "cache": root / "cache",
    }
