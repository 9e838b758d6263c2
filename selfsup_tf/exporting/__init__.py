"""An encoder as SavedModel and TFLite, each proven in its own runtime."""
