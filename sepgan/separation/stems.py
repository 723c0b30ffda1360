"""Which files a model's stems become: all, some, sums of them, and who takes the rest.

Every model stem belongs to one output at most, so that outputs can add up to the song. One output, the residual, is not
what the model gives but the song minus the others: it takes what lies outside the model's band too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sepgan.errors import UsageError
from sepgan.separation.options import SeparationOptions

NO_RESIDUAL = "none"


@dataclass(frozen=True)
class StemPlan:
    """The outputs of a separation.

    Attributes:
        outputs: names of the files, in the model's order.
        parts: the model's stems that each output sums up; none for a residual that is an output of its own.
        others: outputs whose samples the model has to give, whether they are written or only subtracted.
        residual: the output that is the song minus all others; "" where nothing takes the rest.
    """

    outputs: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...]
    residual: str

    @property
    def is_whole(self) -> bool:
        """Whether the files together are meant to be the song."""
        return set(self.outputs) == {*self.others, self.residual}


def plan_stems(model_stems: Sequence[str], residual_stem: str, options: SeparationOptions) -> StemPlan:
    """Decide what is written and what the model has to give for it.

    Args:
        model_stems: what the model can give.
        residual_stem: which of these takes the rest where the options name nothing else.
        options: what is wanted.

    Raises:
        UsageError: a name is unknown, used twice, or cannot be the name of a file.
    """
    parts = _groups(model_stems, options)
    if options.two_stems is not None and options.stems is None and options.aggregate:
        raise UsageError("--two-stems and --aggregate exclude each other: one says what becomes of all stems already")
    wanted = _wanted(parts, options)
    heir = next(name for name, stems in parts.items() if residual_stem in stems)
    if options.residual is None:
        outputs = wanted
        residual = heir
        # The heir is the song minus all others, whether these are wanted or not.
        others = [name for name in parts if name != heir and (heir in wanted or name in wanted)]
    elif options.residual == NO_RESIDUAL:
        outputs, others, residual = wanted, wanted, ""
    else:
        if options.residual in parts:
            raise UsageError(f"--residual {options.residual!r} is the name of a stem already; choose another name")
        outputs, others, residual = [*wanted, options.residual], wanted, options.residual
        parts = {**parts, residual: ()}
    _require_file_names(outputs)
    return StemPlan(tuple(outputs), {name: parts[name] for name in {*outputs, *others}}, tuple(others), residual)


def _groups(model_stems: Sequence[str], options: SeparationOptions) -> dict[str, tuple[str, ...]]:
    """The outputs there could be, each with its parts, in the order of their first part."""
    aggregates = dict(options.aggregate)
    if len(aggregates) < len(options.aggregate):
        raise UsageError("--aggregate names the same output twice; give each its own name")
    if options.two_stems is not None:
        _require_known([options.two_stems], model_stems, "the model has no stem")
        rest = tuple(stem for stem in model_stems if stem != options.two_stems)
        if not rest:
            raise UsageError(f"the model has one stem only, {options.two_stems!r}; --two-stems needs two at least")
        aggregates = {f"no_{options.two_stems}": rest}
    taken: dict[str, str] = {}
    for name, stems in aggregates.items():
        if not stems:
            raise UsageError(f"--aggregate {name} has no parts; give it as {name}=drums+bass")
        _require_known(stems, model_stems, "the model has no stem")
        for stem in stems:
            if stem in taken:
                raise UsageError(
                    f"--aggregate uses {stem!r} in {taken[stem]!r} and in {name!r}: the files would not add up"
                )
            taken[stem] = name
        if name in model_stems and name not in stems:
            raise UsageError(f"--aggregate {name!r} has the name of a stem that it does not hold; choose another name")
    groups: dict[str, tuple[str, ...]] = {}
    for stem in model_stems:
        name = taken.get(stem, stem)
        groups[name] = aggregates[name] if stem in taken else (stem,)
    return groups


def _wanted(parts: Mapping[str, tuple[str, ...]], options: SeparationOptions) -> list[str]:
    if options.stems is None:
        return list(parts)
    if not options.stems:
        raise UsageError(f"no stems are wanted; the model has {', '.join(parts)}")
    _require_known(options.stems, parts, "the model has no stem")
    return [name for name in parts if name in options.stems]


def _require_known(names: Sequence[str], known: Sequence[str] | Mapping[str, object], what: str) -> None:
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{what} {unknown[0]!r}; it has {', '.join(known)}")


def _require_file_names(names: Sequence[str]) -> None:
    for name in names:
        if PurePath(name).name != name or "\\" in name or not name.strip(". ") or not name.isprintable():
            raise UsageError(f"the stem {name!r} cannot be the name of a file")
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"stems differ in the case of letters only: {', '.join(names)}")
