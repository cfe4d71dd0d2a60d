"""The parts of `benchmarks/scanner.py`, one question each."""
