import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.data.catalog import set_default_policy


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """Detectron2's `setup_logger` and our commands change loggers for good, their levels as well;
    no test shall see another's."""
    yield
    for name in ("dld_d2", "detectron2", "fvcore"):
        logger = logging.getLogger(name)
        logger.propagate = True
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


@pytest.fixture
def clean_catalogs():
    """What a test registers is gone after it."""
    before = set(DatasetCatalog)
    yield
    set_default_policy("raise")
    for name in set(DatasetCatalog) - before:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)
