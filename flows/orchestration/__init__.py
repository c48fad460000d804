"""The execution of runs: progress, events, notifications, approval, remote stages, recovery after crashes.

The order of the stages is in `flows/pipeline.py`; commands and servers have packages of their own.
"""
