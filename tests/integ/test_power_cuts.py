#!/usr/bin/python3
# tests/run: slow timeout=300
"""Real power cuts, by FS_IOC_SHUTDOWN, under a mounted tenant on ext4 and xfs, while SQLite, git and others work in it: nothing that was
acknowledged is lost, everything reads. POWER_CUTS=n: so many rounds on each filesystem. Usage: test_power_cuts.py [BUILDDIR] [--help]"""
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cuts

sys.exit(cuts.main("power_cuts", 10, "POWER_CUTS", False, ("ext4", "xfs")))
