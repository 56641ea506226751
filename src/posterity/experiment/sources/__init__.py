"""Sources of modules as text: what constructors take, and what code a target reaches. Nothing is imported for it."""
