"""What stands before faces: drawn, pasted over training faces, and learned to be found."""
