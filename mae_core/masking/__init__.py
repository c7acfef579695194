"""What is hidden. A masker scores cells; ``plan_from_scores`` hides the highest. The one table of maskers."""

MASKERS = {
    "random": "mae_core.masking.random:RandomMasker",
    "grid": "mae_core.masking.grid:GridMasker",
    "block": "mae_core.masking.block:BlockMasker",
    "multi_block": "mae_core.masking.multi_block:MultiBlockMasker",
    "coarse": "mae_core.masking.coarse:CoarseMasker",
    "span": "mae_core.masking.span:SpanMasker",
    "tail": "mae_core.masking.span:TailMasker",
    "line": "mae_core.masking.span:LineMasker",
    "stripe": "mae_core.masking.span:StripeMasker",
    "tube": "mae_core.masking.span:TubeMasker",
    "whole_word": "mae_core.masking.groups:WholeWordMasker",
    "column": "mae_core.masking.column:ColumnMasker",
    "copy": "mae_core.masking.column:CopyMasker",
    "variance": "mae_core.masking.content:VarianceMasker",
    "edges": "mae_core.masking.content:EdgesMasker",
    "motion": "mae_core.masking.content:MotionMasker",
    "weight_map": "mae_core.masking.weight_map:WeightMapMasker",
    "dirichlet": "mae_core.masking.kinds:DirichletMasker",
    "whole_kind": "mae_core.masking.kinds:WholeKindMasker",
}
