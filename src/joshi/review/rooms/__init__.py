"""The three rooms: what a reviewer is given, and what a decision does. Nothing here knows of HTML."""
