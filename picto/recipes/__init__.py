"""How the small models of `picto/weights/` were trained; ``make picto-weights`` runs all of it."""
