"""HTTP: who may ask, and in which dialect. No rendering and no scheduling rule lives here."""
