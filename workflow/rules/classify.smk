def classifier_code(wildcards):
    """What the classifiers are made of."""
    return of(wildcards).classifier_code()


rule classify:
    input:
        weights="results/{experiment}/models/{method}/weights.safetensors",
        description="results/{experiment}/models/{method}/estimator.json",
        train=simulations("train"),
        valid=simulations("valid"),
    output:
        "results/{experiment}/classifiers/{method}.nc",
    log:
        "results/{experiment}/logs/classify/{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/classify/{method}.tsv"
    wildcard_constraints:
        method="|".join(TRAINED) or "$",
    params:
        file=file_of,
        folder=subpath(input.weights, parent=True),
        depends=lambda wildcards: of(wildcards).classified_on(wildcards.method),
        code=code("classify", problem_code, method_code, classifier_code),
    message:
        "classify: {wildcards.method} of {wildcards.experiment}"
    shell:
        "{POSTERITY} classify {params.file} --method {wildcards.method} --weights {params.folder}"
        " --train {input.train} --valid {input.valid} --output {output} > {log} 2>&1"
