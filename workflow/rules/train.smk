rule train:
    input:
        train=simulations("train"),
        valid=simulations("valid"),
        climatology=climatology_of,
    output:
        weights="results/{experiment}/models/{method}/weights.safetensors",
        description="results/{experiment}/models/{method}/estimator.json",
        history="results/{experiment}/models/{method}/history.jsonl",
    log:
        "results/{experiment}/logs/train/{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/train/{method}.tsv"
    wildcard_constraints:
        experiment=owning("models", Experiment.trained),
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        folder=subpath(output.weights, parent=True),
        depends=depends_on("train"),
    message:
        "train: {wildcards.method} of {wildcards.experiment}"
    shell:
        "posterity train {params.file:q} --method {wildcards.method} --train {input.train:q} --valid {input.valid:q}"
        " --climatology {input.climatology:q} --output {params.folder:q} > {log:q} 2>&1"
