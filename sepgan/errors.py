"""The errors a user can fix, each with the exit code the command line ends with.

Every message is one line that names the value, what was expected and what to do next. Anything else that escapes is a
bug.

| code | meaning |
| --- | --- |
| 0 | all good |
| 1 | at least one file of several failed, or an evaluation is worse than its baseline allows |
| 2 | usage or recipe error |
| 3 | an input is absent or unreadable |
| 4 | a model is missing, damaged or of another version |
| 5 | out of memory |
| 6 | an output cannot be written |
| 130 | interrupted |
"""


class SepganError(Exception):
    """Root of all errors that a user can fix."""

    exit_code = 1


class UsageError(SepganError):
    """The call itself is wrong: an option, a name, a combination."""

    exit_code = 2


class RecipeError(SepganError):
    """A recipe has an unknown key, a value of the wrong type, or values that contradict each other."""

    exit_code = 2


class AudioError(SepganError):
    """An audio file is absent, empty, or cannot be decoded."""

    exit_code = 3


class DatasetError(SepganError):
    """A dataset folder is absent, has no tracks, or lacks what the recipe needs."""

    exit_code = 3


class EvaluationError(SepganError):
    """References and estimates cannot be compared: missing, of another length, rate or channel count."""

    exit_code = 3


class CheckpointError(SepganError):
    """A model is missing, truncated, altered or of another version."""

    exit_code = 4


class OutOfMemoryError(SepganError):
    """The device has too little memory even for the smallest segment."""

    exit_code = 5


class OutputError(SepganError):
    """An output cannot be written: no such folder, no permission, disk full."""

    exit_code = 6
