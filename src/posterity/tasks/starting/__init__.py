"""What a project begins with: commented files of an experiment, a system or a method, and observations from tables."""
