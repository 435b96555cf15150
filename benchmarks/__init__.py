"""What pgjobs costs, measured beside its peers: ``python -m benchmarks --help``."""
