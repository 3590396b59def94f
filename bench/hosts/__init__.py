"""Several hosts made of this machine: what their network costs, and what two modes make of it."""
