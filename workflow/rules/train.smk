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
        experiment=owning("models", trained_alone),
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        folder=subpath(output.weights, parent=True),
        depends=depends_on("train"),
        submit="",
    message:
        "train: {wildcards.method} of {wildcards.experiment}"
    shell:
        "posterity train {params.file:q} --method {wildcards.method} --train {input.train:q} --valid {input.valid:q}"
        " --climatology {input.climatology:q} --output {params.folder:q} {params.submit} > {log:q} 2>&1"


# Several processes are one job of Slurm, which a driver on this machine submits, watches and follows.
use rule train as train_on_nodes with:
    wildcard_constraints:
        experiment=owning("models", Experiment.shared),
    localrule: True
    resources:
        gpu=processes_of,
        # By default twice the size of the inputs, which are not the driver's to read.
        disk_mb=0,
    params:
        file=file_of,
        folder=subpath(output.weights, parent=True),
        depends=depends_on("train"),
        submit=submission,
