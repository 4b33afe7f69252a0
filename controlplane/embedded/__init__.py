"""PostgreSQL, Redis and Traefik from wheels, ended with their owner."""
