# The variants of an experiment file beside each other.
rule scaling:
    input:
        metrics=metrics_of_variants,
        trainings=trainings_of_variants,
    output:
        dataset="results/{study}/scaling.nc",
        table="results/{study}/scaling.csv",
        vector="results/{study}/figures/scaling.svg",
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
        results=subpath(output.dataset, ancestor=2),
        depends=variants_depend_on,
    message:
        "scaling: all variants of {wildcards.study}"
    shell:
        "posterity scaling {params.file:q} --results {params.results:q} --output {output.dataset:q} --table {output.table:q}"
        " --figure {output.vector:q} > {log:q} 2>&1"
