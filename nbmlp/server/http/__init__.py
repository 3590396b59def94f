"""HTTP: who may ask, what they may ask for, and how it is answered."""
