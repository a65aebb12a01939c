"""Dynamic low-resolution distillation: teaching a spotter to read at the scale it chooses."""
