"""The review room's pages: what a browser sees and sends. What a decision does stands in joshi.review.rooms."""
