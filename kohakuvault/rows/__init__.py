"""What the containers of rows with an id, a value and columns of metadata share: VectorKVault and TextVault."""
