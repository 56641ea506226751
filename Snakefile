include: "workflow/Snakefile"


# An included file cannot set the default target, so a plain `snakemake` asks for all here.
rule default:
    default_target: True
    input:
        rules.all.input,
    localrule: True
