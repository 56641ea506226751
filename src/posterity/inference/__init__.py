"""From datasets through methods to datasets: what tasks do between their files, and ``import posterity`` offers."""
