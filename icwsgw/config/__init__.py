"""Configuration: every option declared once, its sources, and the forms of its values."""
