rule climatology:
    output:
        "results/{experiment}/climatology.nc",
    log:
        "results/{experiment}/logs/climatology.log",
    benchmark:
        "results/{experiment}/benchmarks/climatology.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        depends=depends_on("climatology"),
    message:
        "climatology: spin-ups of {wildcards.experiment}"
    shell:
        "posterity climatology {params.file:q} --output {output:q} > {log:q} 2>&1"


rule simulate:
    input:
        climatology=climatology_of,
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
        " --climatology {input.climatology:q} --output {output:q} > {log:q} 2>&1"
