"""The review of duplicates: a page with thumbnails, and the decisions it saves."""
