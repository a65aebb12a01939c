"""What all other packages share: words, their polygons, characters and lexicons.

Importing this package, and each module but `polygons`, loads neither PyTorch nor Detectron2; the
names below are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "lexicons": ["LEXICONS"],
        "limits": ["check_polygon", "check_text"],
        "polygons": ["Polygons", "points_in_polygons"],
        "files": ["check_regular_file"],
        "sides": ["POINTS_PER_SIDE", "sides_of", "word_sides"],
        "sizes": ["scaled_size"],
        "vocabulary": ["PRINTABLE_ASCII", "Vocabulary"],
        "word": ["DONT_CARE", "Word"],
    },
)
