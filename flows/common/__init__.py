"""Small helpers that commands, servers and runs share: safe terminal output, error messages, bounded
YAML, access to the project's folder.

Anything that knows about stages, servers or presets belongs in another package.
"""
