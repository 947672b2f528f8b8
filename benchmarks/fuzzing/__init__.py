"""What `python -m benchmarks.fuzz` throws at the readers, and how it watches them."""
