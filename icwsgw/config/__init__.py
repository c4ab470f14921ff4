"""Configuration: the declarations of all options, their sources, and the formats of their values."""
