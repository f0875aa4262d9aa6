"""Vector indexes: how they are made, kept up with their tables, and built anew."""
