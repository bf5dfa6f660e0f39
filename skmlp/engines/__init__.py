"""Where networks are computed: engines with one contract (`skmlp.engines.base`)."""
