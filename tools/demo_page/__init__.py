"""What `make demo` measures, and the page it writes."""
