"""Who grades a video: a model on this machine, a model behind a server, several of them, or plain measurements."""
