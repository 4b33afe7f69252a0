"""camp: a GenAI back office that carries out its own deployment."""

__version__ = "0.1.0"
