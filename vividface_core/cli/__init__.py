"""The ``vividface`` command, a module per subcommand."""
