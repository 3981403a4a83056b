"""Stage 9: put a model that the gates let through into use, try it as its callers do, and take it back."""
