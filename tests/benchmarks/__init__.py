"""Benchmarks beside installed peers, at scale and under load. Each module says how to run it."""
