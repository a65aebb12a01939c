"""Models. `dld_d2.config` registers them with Detectron2."""
