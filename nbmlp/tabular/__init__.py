"""Tables: many nets at once, of which an ensemble is chosen; scikit-learn's interface around it."""
