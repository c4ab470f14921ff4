"""The command line ``icws``: talks to canisters through a gateway, and finds out why that does not work."""
