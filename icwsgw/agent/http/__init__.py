"""HTTP/1.1 client for many small requests to few hosts; knows nothing of the Internet Computer."""
