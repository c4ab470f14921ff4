"""The core of the program: connects clients' sessions with canisters on the network."""
