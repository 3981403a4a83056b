"""Joshi: from a team's own chat transcripts to a deployed, watched, house-tone local language model."""

__version__ = "0.1.0"
