"""How a selector learns to choose scales, one file each."""
