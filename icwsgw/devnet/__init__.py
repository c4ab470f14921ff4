"""The embedded local replica with demo canisters, for development and tests."""
