"""This process as the system sees it."""
