# Two ways to the same file: a trained estimator samples, a baseline assimilates. And what both are held against.


def draws(wildcards):
    """The number of draws per case."""
    return of(wildcards).draws(wildcards.method)


rule sample:
    input:
        weights=lambda wildcards: f"{weights_of(wildcards)}/weights.safetensors",
        description=lambda wildcards: f"{weights_of(wildcards)}/estimator.json",
        twin="results/{experiment}/simulations/test/{shard}.nc",
    output:
        "results/{experiment}/posteriors/{method}/{shard}.nc",
    log:
        "results/{experiment}/logs/sample/{method}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample/{method}/{shard}.tsv"
    wildcard_constraints:
        method="|".join(SAMPLED) or "$",
    params:
        file=file_of,
        folder=weights_of,
        samples=draws,
        depends=lambda wildcards: of(wildcards).drawn_on(wildcards.method),
        code=code("sample", problem_code, method_code),
    message:
        "sample: {wildcards.method}, test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "{POSTERITY} sample {params.file} --method {wildcards.method} --weights {params.folder} --twin {input.twin}"
        " --samples {params.samples} --output {output} > {log} 2>&1"


rule assimilate:
    input:
        twin="results/{experiment}/simulations/test/{shard}.nc",
    output:
        "results/{experiment}/posteriors/{method}/{shard}.nc",
    log:
        "results/{experiment}/logs/assimilate/{method}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/assimilate/{method}/{shard}.tsv"
    wildcard_constraints:
        method="|".join(ASSIMILATED) or "$",
    params:
        file=file_of,
        samples=draws,
        depends=lambda wildcards: of(wildcards).drawn_on(wildcards.method),
        code=code("assimilate", problem_code, method_code),
    message:
        "assimilate: {wildcards.method}, test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "{POSTERITY} assimilate {params.file} --method {wildcards.method} --twin {input.twin}"
        " --samples {params.samples} --output {output} > {log} 2>&1"


rule reference:
    input:
        twin="results/{experiment}/simulations/test/{shard}.nc",
    output:
        "results/{experiment}/references/{shard}.nc",
    log:
        "results/{experiment}/logs/reference/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/reference/{shard}.tsv"
    params:
        file=file_of,
        depends=lambda wildcards: of(wildcards).referenced_on(),
        code=code("reference", problem_code, reference_code),
    message:
        "reference: test shard {wildcards.shard} of {wildcards.experiment}"
    shell:
        "{POSTERITY} reference {params.file} --twin {input.twin} --output {output} > {log} 2>&1"
