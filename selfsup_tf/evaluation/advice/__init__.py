"""Which of several encoders to take for some images: numbers, then words."""
