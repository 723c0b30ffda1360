"""The rooms of the house: a module imports only from floors below its own, or from its own room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sepgan

PACKAGE = Path(sepgan.__file__).parent

FLOORS = {
    "errors": 0,
    "recipe": 0,
    "masks": 0,
    "atomic": 1,
    "audio": 1,
    "frontend": 1,
    "features": 1,
    "streaming": 1,
    "repetition": 1,
    "wiener": 1,
    "checkpoint": 1,
    "models": 2,
    "data": 2,
    "separator": 3,
    "report": 3,
    "separation": 4,
    "training": 4,
    "evaluation": 4,
    "console": 4,
    "cli": 5,
    "__main__": 6,
}
# Files that are one room although they are several, and the few imports on the level that are meant.
SAME_ROOM = {
    "stem_writer": "audio",
    "resampling": "audio",
    "nmfd": "repetition",
    "synchronous": "separator",
    "model_library": "separator",
    "engine": "separator",
    "inference": "separator",
    "masking": "separator",
    "ensemble": "separator",
}  # and all files named `<room>_...`: see _room_of
ALLOWED_SIDEWAYS = {
    ("recipe", "errors"),
    ("features", "frontend"),  # one table of mel bands
    ("training", "evaluation"),  # validation scores with the evaluator's metrics
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return _room_of(first)


def _room_of(module: str) -> str:
    prefix = module.partition("_")[0]
    return SAME_ROOM.get(module, prefix if prefix in ("audio", "cli") else module)


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "sepgan":
            names = [f"sepgan.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("sepgan.") and not name.startswith("sepgan.__"):
                room = name.split(".")[1]
                yield node.lineno, _room_of(room)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        # For type checkers: at run time `sepgan.Separator` is loaded when it is asked for.
        assert {target for _, target in _imports(path)} <= {"separation"}
        return
    assert room in FLOORS, f"'{room}' has no floor: name it in tests/test_layers.py"
    for line, target in _imports(path):
        assert target in FLOORS, f"{path}:{line}: '{target}' has no floor"
        down = FLOORS[target] < FLOORS[room]
        assert down or target == room or (room, target) in ALLOWED_SIDEWAYS, f"{path}:{line}: {room} imports {target}"


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [("recipe", "torch"), ("errors", "torch"), ("console", "torch"), ("audio", "torch"), ("audio_writer", "torch")],
)
def test_light_rooms_stay_light(room: str, forbidden: str) -> None:
    files = [path for path in _modules() if path.relative_to(PACKAGE).parts[0].removesuffix(".py") == room]
    assert files
    names = {
        name.split(".")[0]
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert forbidden not in names


def test_only_the_command_line_imports_inside_functions() -> None:
    """An import inside a function hides a cycle, but for optional extras, which only those who ask for them need."""
    optional = {
        "librosa",
        "matplotlib",
        "museval",
        "musdb",
        "scipy",
        "jinja2",
        "torchaudio",
        "lightning_fabric",
        "mido",
        "onnxruntime",
    }
    for path in _modules():
        if _room(path) == "cli":
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                    assert (name or "").split(".")[0] in optional, f"{path}:{node.lineno} imports {name} in a function"


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import sys, sepgan; assert 'torch' not in sys.modules; sepgan.Separator; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
