"""The tests mirror the packages; what several of them need stands beside this file."""
