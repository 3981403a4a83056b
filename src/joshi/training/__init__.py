"""Stage 6: pack, objectives, trainer, tracking. Needs the packages of joshi[train]."""
