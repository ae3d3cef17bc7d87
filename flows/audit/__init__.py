"""Quality of the labelling stages: labelled pictures go through all of them as if they had no labels.

One way through: `items` chooses pictures, `chain` puts those of a class through the stages (and through every setting
of a sweep) and counts pixels, `scores` adds the counts up, `suggestion` compares settings, `page` shows all of it.
"""

from flows.audit.run import Audit, audit

__all__ = ["Audit", "audit"]
