"""What the notebooks stand on: their session, figures and widgets."""
