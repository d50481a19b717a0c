"""Trees and a vendor in, requests out. Pure; what all vendors share."""
