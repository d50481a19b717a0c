"""Records in, trees out."""
