# Two ways to the same file: a trained estimator samples, a baseline assimilates. And what both are held against.


rule sample:
    input:
        weights=weights_file("weights.safetensors"),
        description=weights_file("estimator.json"),
        twin="results/{experiment}/simulations/test/{shard}.nc",
        climatology=climatology_of,
    output:
        "results/{experiment}/posteriors/{method}/{shard}.nc",
    log:
        "results/{experiment}/logs/sample/{method}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample/{method}/{shard}.tsv"
    wildcard_constraints:
        experiment=owning("posteriors", Experiment.sampled),
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        folder=subpath(input.weights, parent=True),
        samples=draws,
        depends=depends_on("sample"),
    message:
        "sample: {wildcards.method}, test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "posterity sample {params.file:q} --method {wildcards.method} --weights {params.folder:q} --twin {input.twin:q}"
        " --climatology {input.climatology:q} --samples {params.samples} --output {output:q} > {log:q} 2>&1"


rule assimilate:
    input:
        twin="results/{experiment}/simulations/test/{shard}.nc",
        climatology=climatology_of,
    output:
        "results/{experiment}/posteriors/{method}/{shard}.nc",
    log:
        "results/{experiment}/logs/assimilate/{method}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/assimilate/{method}/{shard}.tsv"
    wildcard_constraints:
        experiment=owning("posteriors", Experiment.assimilated),
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        samples=draws,
        depends=depends_on("assimilate"),
    message:
        "assimilate: {wildcards.method}, test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "posterity assimilate {params.file:q} --method {wildcards.method} --twin {input.twin:q}"
        " --climatology {input.climatology:q} --samples {params.samples} --output {output:q} > {log:q} 2>&1"


rule reference:
    input:
        twin="results/{experiment}/simulations/test/{shard}.nc",
        climatology=climatology_of,
    output:
        "results/{experiment}/references/{shard}.nc",
    log:
        "results/{experiment}/logs/reference/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/reference/{shard}.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        depends=depends_on("reference"),
    message:
        "reference: test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "posterity reference {params.file:q} --twin {input.twin:q}"
        " --climatology {input.climatology:q} --output {output:q} > {log:q} 2>&1"
