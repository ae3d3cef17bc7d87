"""The stages: arrays in, arrays out. Heavy models live in `pipeline.backends`."""
