"""The smoke chain under kills."""
