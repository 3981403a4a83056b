"""Stage 6: pack, objectives, trainer. Needs the packages of joshi[train]."""
