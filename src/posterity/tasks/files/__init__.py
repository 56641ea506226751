"""The files of results, beside their data: what they depend on, what a training wrote, the library of states."""
