"""One thin operator a step: resolve the spec's section and the stores, call one stage function, push a small JSON."""
