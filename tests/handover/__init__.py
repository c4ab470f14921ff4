"""Tests of icwsgw.handover."""
