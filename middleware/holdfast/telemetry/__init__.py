"""Where events go: one sink per file, one outside library each."""
