"""What is measured, and how: specs/60-performance.md. ``tox -e bench`` prints the quick table."""
