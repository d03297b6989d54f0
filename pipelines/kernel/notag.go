//go:build !duckdb_arrow

package kernel

// DuckDB's driver has Arrow only with a build tag. Without it the build ends here, with a sentence instead of a list of
// symbols that are missing.
var _ = build_with_the_tag_duckdb_arrow__make_build_does_so__or_go_build_with_tags_duckdb_arrow
