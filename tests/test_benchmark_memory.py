"""The memory benchmark runs real separations and tells lengths apart."""

import pytest

from benchmarks import memory


def test_lengths_are_separated_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--minutes", "0.05", "0.1"]) == 0
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 0.05", "| 0.1"]
    assert all(100 < float(row.split(" | ")[2]) < 4000 for row in rows), "megabytes"


def test_a_run_that_fails_ends_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--minutes", "0.05", "--model", "missing.safetensors"]) not in (0, None)
    assert "0.05 minutes ended with code" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--runs", "0"]])
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        memory.main(arguments)
    assert stop.value.code == 2
