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
        "posterity literature {params.files:q} --metrics {input:q} --output {output:q} > {log:q} 2>&1"
