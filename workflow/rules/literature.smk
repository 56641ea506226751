# Asked for by name: `snakemake literature --config experiments=lorenz96_cycling,lorenz63_cycling`, or `make literature`.


rule literature:
    input:
        expand("results/{experiment}/metrics.nc", experiment=PUBLISHED),
    output:
        "results/literature.md",
    log:
        "results/logs/literature.log",
    benchmark:
        "results/benchmarks/literature.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        files=[FILES[name] for name in PUBLISHED],
        depends=[
            lineage("literature", EXPERIMENTS[name], "", LINEAGES[name])
            for name in PUBLISHED
        ],
    message:
        "literature: analysis errors beside those that are published"
    shell:
        "python -m posterity literature {params.files} --metrics {input} --output {output} > {log} 2>&1"
