"""BRAID: doubly conservative offline design with plugins for every part."""
