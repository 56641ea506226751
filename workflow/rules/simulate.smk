rule simulate:
    output:
        "results/{experiment}/simulations/{split}/{shard}.nc",
    log:
        "results/{experiment}/logs/simulate/{split}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/simulate/{split}/{shard}.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        cases=shard_of,
        depends=depends_on("simulate"),
    message:
        "simulate: shard {wildcards.shard} of the {wildcards.split} split of {wildcards.experiment}"
    shell:
        "posterity simulate {params.file:q} --split {wildcards.split} --shard {wildcards.shard}"
        " --output {output:q} > {log:q} 2>&1"
