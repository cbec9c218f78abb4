"""What has to be computed for what a file asks: pure data, no tensors."""
