"""Domains come and go in a trained model, and no other domain's score changes by a bit."""
