"""The console script `jvae`: one file a command, its arguments and its action."""
