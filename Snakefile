# The workflow itself stands in workflow/Snakefile; this file is here so that a plain `snakemake` finds it.
include: "workflow/Snakefile"


# An included file cannot set the default target, so name it again.
workflow.default_target = "all"
