"""Side-by-side measurements of skmlp and its peers; see ``benchmarks/README.md``."""
