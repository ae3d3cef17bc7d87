"""Few-shot segmentation models, and how they are trained and scored. Import what you need from the modules."""
