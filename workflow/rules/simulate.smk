def shard_of(wildcards):
    """Where the cases of a shard begin and how many they are: adding shards leaves those there are alone."""
    sizes = getattr(of(wildcards).splits, wildcards.split).shards()
    shard = int(wildcards.shard)
    return [sum(sizes[:shard]), sizes[shard]]


rule simulate:
    output:
        "results/{experiment}/simulations/{split}/{shard}.nc",
    log:
        "results/{experiment}/logs/simulate/{split}/{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/simulate/{split}/{shard}.tsv"
    params:
        file=file_of,
        cases=shard_of,
        depends=lambda wildcards: of(wildcards).simulated_on(wildcards.split),
        code=code("simulate", problem_code, truth_code),
    message:
        "simulate: shard {wildcards.shard} of the {wildcards.split} split of {wildcards.experiment}"
    shell:
        "{POSTERITY} simulate {params.file} --split {wildcards.split} --shard {wildcards.shard}"
        " --output {output} > {log} 2>&1"
