"""From an image to a crystal: parameters fitted to pixels (specs/55-refinement.md)."""
