import logging

import pytest


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """Detectron2's `setup_logger` changes loggers for good; no test shall see another's."""
    yield
    for name in ("dld_d2", "detectron2", "fvcore"):
        logger = logging.getLogger(name)
        logger.propagate = True
        logger.handlers.clear()
