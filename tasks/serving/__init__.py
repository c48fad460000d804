"""Loading a finished model and generating answers, for `chatmill chat` and for servers.

Training and evaluation do not use it.
"""
