"""The compiled floor: nothing above it knows Numba, nothing in it knows a user."""
