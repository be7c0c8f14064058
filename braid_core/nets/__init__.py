"""The networks everyone needs, and how they are trained."""
