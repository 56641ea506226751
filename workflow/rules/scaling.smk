# The variants of an experiment file beside each other.
rule scaling:
    input:
        metrics=metrics_of_variants,
        trainings=trainings_of_variants,
    output:
        dataset="results/{study}/scaling.nc",
        table=report(
            "results/{study}/scaling.csv",
            caption="../report/scaling.rst",
            category="{study}",
            labels={"figure": "table of all variants", "format": "csv"},
        ),
        vector=report(
            "results/{study}/figures/scaling.svg",
            caption="../report/scaling.rst",
            category="{study}",
            labels={"figure": "scaling", "format": "svg"},
        ),
        raster="results/{study}/figures/scaling.png",
    log:
        "results/{study}/logs/scaling.log",
    benchmark:
        "results/{study}/benchmarks/scaling.tsv"
    wildcard_constraints:
        study="|".join(COMPARED) or "$",
    conda:
        "../../envs/posterity.yaml"
    params:
        file=variants_file,
        depends=variants_depend_on,
    message:
        "scaling: all variants of {wildcards.study}"
    shell:
        "python -m posterity scaling {params.file} --results results --output {output.dataset} --table {output.table}"
        " --figure {output.vector} > {log} 2>&1"
