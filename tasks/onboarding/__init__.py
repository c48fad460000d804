"""A preset for a new folder: scan its files, measure the machine, choose sizes, write the YAML.

It calls stages on samples; a run never calls it.
"""
