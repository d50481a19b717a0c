"""Trees and a vendor in, requests out. Pure. Vendors share this code, and import nothing else of the package's core."""
