"""Text data sets for Detectron2.

The names below are imported when they are first used, so that a module which needs neither PyTorch
nor Detectron2 loads without them. The built-in sets are registered by importing
`dld_d2.data.builtin`, as `register_configured_datasets` does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "builtin": ["BUILTIN_DATASETS"],
        "catalog": [
            "EVALUATOR_TYPE",
            "is_labelled",
            "policy_of",
            "register_text_dataset",
            "set_default_policy",
        ],
        "formats.registry": ["FORMATS", "UNLABELLED", "read_records"],
        "index": ["TextIndex"],
        "index_writer": ["write_index"],
        "mapper": ["TextDatasetMapper"],
        "records": ["ImageRecord"],
        "registration_file": ["register_configured_datasets", "register_from_yaml"],
        "report": ["AnnotationError", "AnnotationReport"],
        "text_dataset": ["TextDataset"],
    },
)
