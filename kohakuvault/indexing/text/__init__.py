"""Full-text indexes: FTS5 on SQLite, GIN on PostgreSQL."""
