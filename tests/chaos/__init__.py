"""The smoke chain under kills and other failures of a machine; run it with `make chaos`."""
