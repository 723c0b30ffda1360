"""Every knob of a run and its default: strict YAML <-> frozen models. Imports no torch.

A recipe names the front-end, the generator, the adversary, the data and the training of one model. It is stored in the
checkpoint, so a model cannot be run with another front-end than it was trained with.
"""

from sepgan.recipe.adversary import AdversaryRecipe
from sepgan.recipe.augmentation import AugmentationRecipe, MatchRecipe
from sepgan.recipe.data import DataRecipe, SourceRecipe
from sepgan.recipe.features import FeatureRecipe, FramingRecipe
from sepgan.recipe.files import assign, find, folders, from_dict, load, to_dict
from sepgan.recipe.networks import FrontendRecipe, GeneratorRecipe
from sepgan.recipe.separation import SeparationRecipe
from sepgan.recipe.teacher import TeacherRecipe
from sepgan.recipe.training import TrainRecipe
from sepgan.recipe.whole import MUSDB_STEMS, Recipe

__all__ = [
    "MUSDB_STEMS",
    "AdversaryRecipe",
    "AugmentationRecipe",
    "DataRecipe",
    "FeatureRecipe",
    "FramingRecipe",
    "FrontendRecipe",
    "GeneratorRecipe",
    "MatchRecipe",
    "Recipe",
    "SeparationRecipe",
    "SourceRecipe",
    "TeacherRecipe",
    "TrainRecipe",
    "assign",
    "find",
    "folders",
    "from_dict",
    "load",
    "to_dict",
]
