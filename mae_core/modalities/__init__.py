"""How a raw sample becomes cells and predicted cells become a sample again. The one table of modalities."""

MODALITIES = {
    "image": "mae_core.modalities.image:ImageModality",
    "video": "mae_core.modalities.video:VideoModality",
    "audio": "mae_core.modalities.audio:AudioModality",
    "text": "mae_core.modalities.text:TextModality",
    "series": "mae_core.modalities.series:SeriesModality",
    "table": "mae_core.modalities.table:TableModality",
    "joint": "mae_core.modalities.joint:JointModality",
}
