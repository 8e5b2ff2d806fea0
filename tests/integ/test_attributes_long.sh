#!/bin/bash
# tests/run: long timeout=1800
# The full size of test_attributes.sh.
ATTRIBUTE_ROUNDS=${ATTRIBUTE_ROUNDS:-3000} exec bash "$(dirname "$0")/test_attributes.sh"
