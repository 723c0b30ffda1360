"""The data of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sepgan.recipe.augmentation import AugmentationRecipe, MatchRecipe
from sepgan.recipe.section import Section


class SourceRecipe(Section):
    """One folder of music and what it may be used for."""

    kind: str = Field(
        description="a name of sepgan.data.DATASETS: musdb18, gtzan, maps, folder, pairs, singles, list ..."
    )
    root: str = Field(description="a NAME given by --data NAME=PATH, or a path with a slash")
    split: str = "train"
    include: str = Field("*", description="glob over track names")
    absent: Literal["in_other", "silent"] = Field(
        "in_other", description="a stem without a file: its part lies inside `other`, or the song has none"
    )
    stem: str = Field("vocals", description="for `singles`: which stem the recordings are")
    map: dict[str, str | None] = Field(
        default_factory=dict,
        description="names of stems: {voice: vocals, kick: drums, snare: drums, hum: null}; null leaves a stem out",
    )
    band_hz: float | None = Field(None, gt=0, description="the loss is masked above; default half the file's own rate")
    unlabelled: bool = Field(False, description="take the mixtures only: for a teacher, or an unpaired adversary")
    weight: float = Field(1.0, gt=0, description="relative number of excerpts")
    limit: int | None = Field(None, ge=1, description="use at most so many tracks, spread evenly")
    title: str = ""
    licence: str = Field(
        "not stated", description="of all its files, unless licences.csv or provenance.json beside them tell of each"
    )


class DataRecipe(Section):
    """What is trained on, what is validated on, and how excerpts are mixed."""

    train: tuple[SourceRecipe, ...] = ()
    validation: tuple[SourceRecipe, ...] = ()
    excerpt_s: float = Field(6.0, gt=0, description="rounded so that frames fill the network's grid")
    remix: float = Field(0.8, ge=0, le=1, description="share of excerpts whose stems come from different songs")
    gain_db: tuple[float, float] = Field((-12.0, 2.0), description="random gain of each stem")
    swap_channels: float = Field(0.5, ge=0, le=1)
    pan: float = Field(0.0, ge=0, le=1, description="mono stems are panned by up to this much")
    drop_stem: float = Field(0.0, ge=0, lt=1, description="probability that a stem is left out of a remix")
    song_speed: float = Field(
        0.0, ge=0, le=0.3, description="excerpts of one song play faster or slower by up to this, all stems together"
    )
    augmentation: AugmentationRecipe = AugmentationRecipe()
    match: MatchRecipe = MatchRecipe()
    cache: str | None = Field(None, description="folder for decoded audio; default <out>/cache")
    decode: Literal["once", "direct"] = Field(
        "once",
        description="to the cache, before training; or from the files, for each excerpt: slow, but takes no room",
    )
    resident: bool = Field(False, description="keep all decoded stems in the memory of the device, if they fit")
    unreadable: float = Field(
        0.01, ge=0, lt=1, description="largest share of tracks, and of excerpts, that may fail to be read"
    )
    licences: tuple[str, ...] = Field(
        (), description="refuse all data, and a model to start from, under any other; none: take whatever is named"
    )
    workers: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"data.gain_db must rise from lowest to highest, got {list(self.gain_db)}")
        return self
