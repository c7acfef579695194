"""What is hidden. A masker scores cells; ``plan_from_scores`` hides the highest. The one table of maskers."""

MASKERS = {
    "random": "mae_core.masking.random:RandomMasker",
    "grid": "mae_core.masking.grid:GridMasker",
    "block": "mae_core.masking.block:BlockMasker",
    "span": "mae_core.masking.span:SpanMasker",
    "tail": "mae_core.masking.span:TailMasker",
    "line": "mae_core.masking.span:LineMasker",
    "stripe": "mae_core.masking.span:StripeMasker",
    "tube": "mae_core.masking.span:TubeMasker",
    "whole_word": "mae_core.masking.groups:WholeWordMasker",
    "column": "mae_core.masking.column:ColumnMasker",
    "copy": "mae_core.masking.column:CopyMasker",
    "dirichlet": "mae_core.masking.kinds:DirichletMasker",
    "whole_kind": "mae_core.masking.kinds:WholeKindMasker",
    "attention": "mae_core.masking.led:AttentionMasker",
    "loss_ranked": "mae_core.masking.led:LossRankedMasker",
}
