"""Few-shot segmentation models, and how they are trained and scored."""
