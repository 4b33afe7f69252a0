"""The routing table as Traefik reads it, and what Traefik serves."""
