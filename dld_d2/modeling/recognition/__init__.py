"""Reading words whose regions are known."""
