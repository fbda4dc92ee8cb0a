"""The three stages of training, one file each: what is trained, on which loss, how it is shown and saved."""
