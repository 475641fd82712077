"""Motion-blur training pairs from high-frame-rate video, a network trained on them, photographs made sharp."""

__version__ = "0.1.0"
