"""Certificates from an authority by ACME (RFC 8555, decision 0075). Imported only where a name is to have one."""
