"""Ingestion: from files on disk to rows of vectors and scores."""
