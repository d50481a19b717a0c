"""Trees and a vendor in, requests out. Pure. What all vendors share stands here, and vendors import only this."""
