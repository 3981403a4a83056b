"""Stage 10: what became of a release: people's feedback, the daily drift check, retraining."""
