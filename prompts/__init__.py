"""Text: what to ask a generator for. Vocabularies, agents and the diversity-filtered bank."""
