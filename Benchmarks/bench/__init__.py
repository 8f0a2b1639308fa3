"""The parts of Benchmarks/run.py and Benchmarks/callgrind.py."""
