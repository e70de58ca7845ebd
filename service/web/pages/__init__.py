"""The page: HTML, CSS and JavaScript modules that the browser runs as they are."""
