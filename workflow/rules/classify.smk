rule classify:
    input:
        weights="results/{experiment}/models/{method}/weights.safetensors",
        description="results/{experiment}/models/{method}/estimator.json",
        climatology=climatology_of,
    output:
        "results/{experiment}/classifiers/{method}.nc",
    log:
        "results/{experiment}/logs/classify/{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/classify/{method}.tsv"
    wildcard_constraints:
        experiment=owning("classifiers", Experiment.trained),
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        folder=subpath(input.weights, parent=True),
        depends=depends_on("classify"),
    message:
        "classify: {wildcards.method} of {wildcards.experiment}"
    shell:
        "posterity classify {params.file:q} --method {wildcards.method} --weights {params.folder:q}"
        " --climatology {input.climatology:q} --output {output:q} > {log:q} 2>&1"
