"""The parts of Benchmarks/run.py and Benchmarks/profile.py."""
