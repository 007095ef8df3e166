"""From models in user units to kernel parameters in metres and radians."""
