"""The command ``sovereign``: one module per subcommand, each imported only when its subcommand is called."""
