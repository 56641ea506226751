"""What a training of several hours needs beside its losses: a state that outlives it, and processes that share it."""
