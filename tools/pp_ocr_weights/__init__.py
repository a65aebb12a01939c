"""PP-OCRv6's weights: where they come from, and how they fit our modules."""
