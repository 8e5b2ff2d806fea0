#!/usr/bin/python3
# tests/run: slow timeout=300
"""The daemon killed at any moment, while SQLite, git and others work in its mount: everything that was closed is there, byte for byte.
KILLS=n: so many rounds. Usage: test_kills.py [BUILDDIR] [--help]"""
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cuts

sys.exit(cuts.main("kills", 20, "KILLS", True, ("ext4",)))
