"""The page that shows the API to people: Swagger UI from files of our own, so it works offline."""
