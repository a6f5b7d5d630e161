#!/bin/bash
PYTHONPATH="$(dirname "$0"):$PWD" python3 -m unittest test_cart
