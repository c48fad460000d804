"""The commands of `chatmill`, one file a command: arguments in, tables and exit codes out.

What a command computes belongs in `tasks/` or `flows/orchestration/`, so that flows and tests can call it
too.
"""
