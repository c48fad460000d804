"""Loading a finished model and answering with it, for `chatmill chat` and for servers.

Training and evaluation do not use it.
"""
