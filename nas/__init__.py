"""Neural architecture search that remembers: what one search learned warm-starts the next."""
