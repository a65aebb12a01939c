"""Text data sets for Detectron2. Importing this package registers the built-in ones."""

from . import builtin, synthetic  # register the built-in sets
from .catalog import EVALUATOR_TYPE, register_text_dataset, set_default_policy
from .formats import FORMATS, read_records
from .index import TextIndex
from .index_writer import write_index
from .mapper import TextDatasetMapper
from .records import DONT_CARE, ImageRecord
from .registration_file import register_configured_datasets, register_from_yaml
from .report import AnnotationError, AnnotationReport
from .text_dataset import TextDataset

__all__ = [
    "DONT_CARE",
    "EVALUATOR_TYPE",
    "FORMATS",
    "AnnotationError",
    "AnnotationReport",
    "ImageRecord",
    "TextDataset",
    "TextDatasetMapper",
    "TextIndex",
    "builtin",
    "read_records",
    "register_configured_datasets",
    "register_from_yaml",
    "register_text_dataset",
    "set_default_policy",
    "synthetic",
    "write_index",
]
