"""What monitors read: numbers in the text format of Prometheus."""
