"""Tests of deploy/: each file is read by the program it is for, and says nothing that the gateway does not know.

Debian packages: docker-compose haproxy nginx-light prometheus shellcheck systemd
"""
