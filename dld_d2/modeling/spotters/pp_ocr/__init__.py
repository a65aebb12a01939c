"""PP-OCR's light detector and recogniser, as a spotter of photographs."""
