"""Read and write the JSON files of museval, one a track."""
