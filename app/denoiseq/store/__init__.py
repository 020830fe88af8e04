"""The cut-site and the coverage store: written, opened, thinned, read as coverage."""
