"""Who is asking: tokens of Entra ID, or the one token of development."""
