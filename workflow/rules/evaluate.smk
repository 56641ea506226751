rule evaluate:
    input:
        twin="results/{experiment}/simulations/test/{shard}.nc",
        posterior="results/{experiment}/posteriors/{method}/{shard}.nc",
        reference=reference_of("{shard}"),
    output:
        "results/{experiment}/metrics/{method}/{shard}.nc",
    log:
        "results/{experiment}/logs/evaluate/{method}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluate/{method}/{shard}.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        depends=depends_on("evaluate"),
        dask=workers_of,
    message:
        "evaluate: {wildcards.method}, test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "posterity evaluate {params.file:q} --twin {input.twin:q} --posterior {input.posterior:q}"
        " --reference {input.reference:q} --output {output:q} {params.dask} > {log:q} 2>&1"


rule aggregate:
    input:
        metrics=metrics_of_all,
        classifiers=classifiers_of_all,
    output:
        metrics="results/{experiment}/metrics.nc",
        table="results/{experiment}/table.csv",
        verdict="results/{experiment}/verdict.json",
    log:
        "results/{experiment}/logs/aggregate.log",
    benchmark:
        "results/{experiment}/benchmarks/aggregate.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        failed=failed_of,
        depends=depends_on("aggregate"),
    message:
        "aggregate: all methods of {wildcards.experiment}"
    shell:
        "posterity aggregate {params.file:q} --metrics {input.metrics:q} --classifier {input.classifiers:q}"
        " --failed {params.failed:q} --output {output.metrics:q} --table {output.table:q}"
        " --verdict {output.verdict:q} > {log:q} 2>&1"
