"""The heavy models behind the protocols of `pipeline.types`."""
