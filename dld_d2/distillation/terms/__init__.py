"""The terms of the distillation loss, one file each."""
