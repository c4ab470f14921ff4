"""What the program is: where the clients and the network meet."""
