"""Models to start from, as folders: from the hub, a GGUF file or a package's archive.

Each is compared with its checksums before it is used. What a folder holds is read in `model/data/`.
"""
